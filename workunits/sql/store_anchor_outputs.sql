-- Put anchors' outputs beside the cars', as replicas of owner 0, and queue their units for review; runs that came to
-- nothing queue their unit only. A run is taken once, and a unit keeps its first anchor's output.
-- Caller: store.audits.store_anchor_outputs, holding the batch's verdict lock. Locks: the runs, then new replicas.
-- Index: anchor_run_pkey, replica_one_per_owner. Rows changed: one for each unit queued.
WITH taken AS (
    UPDATE anchor_run r
    SET resolved_at = %(now)s,
        state = CASE WHEN t.problem = '' THEN r.state ELSE 'failed' END,
        error = CASE WHEN t.problem = '' THEN r.error ELSE t.problem END
    FROM unnest(%(run_ids)s::bigint[], %(problems)s::text[], %(sizes)s::integer[], %(rows)s::integer[])
         AS t (id, problem, size_bytes, rows)
    WHERE r.id = t.id AND r.batch_id = %(batch_id)s AND r.resolved_at IS NULL AND r.state IN ('done', 'failed')
    RETURNING r.unit_number, r.state, r.claimed_at, r.done_at, r.output_digest, r.output_blob, r.comparison_class,
              r.seconds, t.size_bytes, t.rows
),
stored AS (
    INSERT INTO replica
        (batch_id, unit_number, owner_id, vehicle_id, state, role, rows, leased_at, deadline_at, committed_at,
         reported_at, ended_at, commitment, output_bytes, output_digest, output_blob, seconds, comparison_class)
    SELECT %(batch_id)s, unit_number, 0, 0, 'VALID', 1, rows, coalesce(claimed_at, done_at),
           greatest(done_at, claimed_at + interval '1 second', done_at + interval '1 second'), done_at,
           done_at, %(now)s, output_digest, size_bytes, output_digest, output_blob, seconds, comparison_class
    FROM taken WHERE state = 'done'
    ON CONFLICT (batch_id, unit_number, owner_id) DO NOTHING
)
INSERT INTO review (batch_id, unit_number) SELECT %(batch_id)s, unit_number FROM taken
