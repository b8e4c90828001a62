-- Everything a sync tells us, in one statement: heartbeat, commitments, outputs, hand-backs, and the draw of audits.
-- Caller: the function sync_vehicle. Locks: the car's presence row, then its own replicas.
-- Index: vehicle_presence_pkey, replica_one_per_owner (one probe for each replica mentioned).
-- Rows: none where the car's counter is not the one that was read (another sync won), or its trust was reset since it
-- was read. Else one `guard` row, one `seen` row for each replica mentioned that exists, as it was before this
-- statement, and one `moved` row for each that this statement moved: one that could move and did not was moved by
-- somebody else in the same moment.
-- The draw: a first commitment at a level with audits (`level` above 0) is numbered, and audited where its random
-- number is below the probability that the domain's rule gives for its weight (domain.audits.draws). A repeated one
-- draws nothing. `vehicle_commit` keeps number, weight and probability.
-- A re-run whose bytes are not here is kept by the car until digest or sketch have settled it: its deadline moves on.
-- `batch_id = ANY(...)` beside the join is for the planner: the list is constant, so other lanes are never opened.
WITH guard AS (
    SELECT vehicle_id, commit_sequence FROM vehicle_presence
    WHERE vehicle_id = %(vehicle_id)s AND counter = %(counter_seen)s AND trust_life = %(trust_life)s
    FOR UPDATE
),
seen AS MATERIALIZED (
    SELECT r.batch_id, r.unit_number, r.vehicle_id, r.attempt, r.state, r.rows, r.commitment, r.deadline_at, r.role,
           r.bytes_wanted
    FROM unnest(%(seen_batches)s::bigint[], %(seen_units)s::integer[]) AS mentioned (batch_id, unit_number)
    JOIN replica r ON r.batch_id = mentioned.batch_id AND r.unit_number = mentioned.unit_number
        AND r.owner_id = %(owner_id)s
    WHERE r.batch_id = ANY (%(batches)s::bigint[])
),
offered AS MATERIALIZED (
    SELECT c.*, r.weight, guard.commit_sequence + count(*) FILTER (WHERE c.level > 0 AND r.state = 'LEASED')
               OVER (ORDER BY c.place ROWS UNBOUNDED PRECEDING) AS next_sequence,
           least(1.0, greatest(c.floor, r.weight / nullif(c.reserve + c.own_factor * r.weight, 0))) AS probability
    FROM guard, unnest(%(commit_batches)s::bigint[], %(commit_units)s::integer[], %(commit_attempts)s::smallint[],
                %(commitments)s::bytea[], %(sketches)s::bytea[], %(output_sizes)s::integer[], %(outputs)s::bytea[],
                %(output_digests)s::bytea[], %(output_rows)s::integer[], %(seconds)s::real[],
                %(commit_levels)s::smallint[], %(commit_models)s::bigint[], %(commit_draws)s::double precision[],
                %(commit_reserves)s::double precision[], %(commit_own_factors)s::double precision[],
                %(commit_floors)s::double precision[], %(commit_youngs)s::double precision[]) WITH ORDINALITY
         AS c (batch_id, unit_number, attempt, commitment, sketch, output_bytes, output, output_digest, rows, seconds,
               level, model_id, draw, reserve, own_factor, floor, young_above, place)
    JOIN replica r ON r.batch_id = c.batch_id AND r.unit_number = c.unit_number AND r.owner_id = %(owner_id)s
    WHERE r.batch_id = ANY (%(batches)s::bigint[])
      AND r.vehicle_id = %(vehicle_id)s AND r.attempt = c.attempt
      AND (c.rows IS NULL OR c.rows = r.rows)
      AND (r.state = 'LEASED' OR r.state = 'COMMITTED' AND c.output IS NOT NULL AND r.commitment = c.commitment)
),
committed AS (
    UPDATE replica r
    SET state = CASE WHEN c.output IS NULL THEN 'COMMITTED' ELSE 'REPORTED' END,
        committed_at = coalesce(r.committed_at, %(now)s),
        reported_at = CASE WHEN c.output IS NOT NULL THEN %(now)s::timestamptz END,
        commitment = c.commitment, sketch = CASE WHEN r.role <> 0 THEN c.sketch END, output_bytes = c.output_bytes,
        output = c.output, output_digest = c.output_digest, seconds = c.seconds,
        sequence = CASE WHEN r.state <> 'LEASED' THEN r.sequence WHEN c.level > 0 THEN c.next_sequence END,
        young = CASE WHEN r.state <> 'LEASED' THEN r.young ELSE c.level > 0 AND c.weight > c.young_above END,
        drawn = CASE WHEN r.state <> 'LEASED' THEN r.drawn
                     ELSE c.level > 0 AND r.role = 0 AND (c.draw < c.probability OR c.weight > c.young_above) END,
        comparison_class = CASE WHEN r.state <> 'LEASED' THEN r.comparison_class ELSE %(comparison_class)s END,
        deadline_at = CASE WHEN r.state = 'LEASED' AND r.role <> 0 AND c.output IS NULL
                           THEN greatest(r.deadline_at, %(kept_until)s) ELSE r.deadline_at END
    FROM offered c
    WHERE r.batch_id = c.batch_id AND r.unit_number = c.unit_number AND r.owner_id = %(owner_id)s
      AND r.batch_id = ANY (%(batches)s::bigint[])
      AND r.vehicle_id = %(vehicle_id)s AND r.attempt = c.attempt
      AND (r.state = 'LEASED' OR r.state = 'COMMITTED' AND c.output IS NOT NULL AND r.commitment = c.commitment)
    RETURNING r.batch_id, r.unit_number, r.state, r.role, r.attempt, r.sequence, r.weight, r.drawn, c.level, c.model_id,
              c.next_sequence, c.probability
),
logged AS (
    INSERT INTO vehicle_commit
        (vehicle_id, sequence, batch_id, unit_number, owner_id, attempt, level, role, model_id, comparison_class,
         weight, probability, drawn, committed_at)
    SELECT %(vehicle_id)s, sequence, batch_id, unit_number, %(owner_id)s, attempt, level, role, model_id,
           %(comparison_class)s, weight, CASE WHEN role = 0 THEN probability ELSE 1.0 END, drawn, %(now)s
    FROM committed WHERE sequence = next_sequence AND level > 0
    ON CONFLICT (vehicle_id, sequence) DO NOTHING
),
ended AS (
    UPDATE replica r
    SET state = e.state, reason = e.reason, ended_at = %(now)s
    FROM guard, unnest(%(end_batches)s::bigint[], %(end_units)s::integer[], %(end_attempts)s::smallint[],
                %(end_states)s::text[], %(end_reasons)s::text[])
         AS e (batch_id, unit_number, attempt, state, reason)
    WHERE r.batch_id = e.batch_id AND r.unit_number = e.unit_number AND r.owner_id = %(owner_id)s
      AND r.batch_id = ANY (%(batches)s::bigint[])
      AND r.vehicle_id = %(vehicle_id)s AND r.attempt = e.attempt AND r.state IN ('LEASED', 'COMMITTED')
    RETURNING r.batch_id, r.unit_number, r.state, r.reason
),
noted AS (
    INSERT INTO unit_event (batch_id, unit_number, owner_id, event, detail, at)
    SELECT batch_id, unit_number, %(owner_id)s, lower(state), reason, %(now)s FROM ended
),
queued AS (
    INSERT INTO review (batch_id, unit_number)
    SELECT batch_id, unit_number FROM committed WHERE state = 'REPORTED' OR role <> 0
    UNION ALL
    SELECT batch_id, unit_number FROM ended
),
still_open AS (
    SELECT array_agg(batch_id) AS batch_ids, array_agg(unit_number) AS unit_numbers, min(deadline_at) AS deadline_at
    FROM seen
    WHERE vehicle_id = %(vehicle_id)s AND state IN ('LEASED', 'COMMITTED')
      AND NOT EXISTS (SELECT FROM ended e WHERE (e.batch_id, e.unit_number) = (seen.batch_id, seen.unit_number))
      AND NOT EXISTS (SELECT FROM committed c
                      WHERE (c.batch_id, c.unit_number) = (seen.batch_id, seen.unit_number) AND c.state = 'REPORTED')
),
beat AS (
    UPDATE vehicle_presence p
    SET counter = %(counter)s, last_seen_at = %(now)s, eligible = %(eligible)s, reasons = %(reasons)s::varchar[],
        commit_sequence = greatest(p.commit_sequence, (SELECT max(sequence) FROM committed)),
        agent = %(agent)s, comparison_class = %(comparison_class)s, memory_bytes = %(memory_bytes)s,
        opset_max = %(opset_max)s,
        open_batch_ids = coalesce(still_open.batch_ids, '{}'),
        open_unit_numbers = coalesce(still_open.unit_numbers, '{}'),
        lease_expires_at = date_bin('10 seconds', still_open.deadline_at, 'epoch') + interval '10 seconds'
    FROM guard, still_open
    WHERE p.vehicle_id = guard.vehicle_id
)
SELECT 'guard' AS kind, vehicle_id AS batch_id, NULL::integer AS unit_number, NULL::bigint AS vehicle_id,
       NULL::smallint AS attempt, NULL::text AS state, NULL::integer AS rows, NULL::bytea AS digest,
       NULL::text AS shard_sha256, NULL::bigint AS byte_start, NULL::bigint AS byte_end,
       NULL::smallint AS role, NULL::boolean AS bytes_wanted
FROM guard
UNION ALL
SELECT 'seen', batch_id, unit_number, seen.vehicle_id, attempt, state, rows, commitment, NULL, NULL, NULL, role,
       bytes_wanted
FROM seen, guard
UNION ALL
SELECT 'moved', batch_id, unit_number, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM committed
UNION ALL
SELECT 'moved', batch_id, unit_number, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM ended
