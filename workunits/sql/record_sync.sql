-- Everything a sync tells us, in one statement: heartbeat, commitments, outputs, hand-backs, and the draw of audits.
-- Caller: the function sync_vehicle. Locks: the car's presence row, then its own replicas, then its row of trust_due.
-- Index: vehicle_presence_pkey, replica_one_per_owner (one probe for each replica mentioned).
-- Rows: none where the car's counter is not the one that was read (another sync won), or its trust was reset since it
-- was read. Else one `guard` row, one `seen` row for each replica mentioned that exists, as it was before this
-- statement, and one `moved` row for each that this statement moved: one that could move and did not was moved by
-- somebody else in the same moment.
-- The draw: a first commitment at a level with audits (`draw_*`) is numbered, and audited where its random
-- number is below the probability that the domain's rule gives for its weight (domain.audits.draws). A repeated one
-- draws nothing. `vehicle_commit` keeps number, weight and probability.
-- A car that gives up an audit gets none before `audits_from`.
-- A re-run whose bytes are not here is kept by the car until digest or sketch have settled it: its deadline moves on.
-- `batch_id = ANY(...)` beside the join is for the planner: the list is constant, so other lanes are never opened.
WITH guard AS (
    SELECT vehicle_id, commit_sequence FROM vehicle_presence
    WHERE vehicle_id = %(vehicle_id)s AND counter = %(counter_seen)s AND trust_life = %(trust_life)s
    FOR UPDATE
),
seen AS MATERIALIZED (
    SELECT r.batch_id, r.unit_number, r.vehicle_id, r.attempt, r.state, r.rows, r.commitment, r.deadline_at, r.role,
           r.bytes_wanted, r.weight
    FROM unnest(%(seen_batches)s::bigint[], %(seen_units)s::integer[]) AS mentioned (batch_id, unit_number)
    JOIN replica r ON r.batch_id = mentioned.batch_id AND r.unit_number = mentioned.unit_number
        AND r.owner_id = %(owner_id)s
    WHERE r.batch_id = ANY (%(batches)s::bigint[])
),
numbered AS MATERIALIZED (
    SELECT c.batch_id, c.unit_number, c.level, c.model_id, c.draw, c.young_above, s.weight,
           guard.commit_sequence + row_number() OVER (ORDER BY c.place) AS sequence,
           CASE WHEN s.weight > c.certain_above THEN 1.0 ELSE
               least(1.0, greatest(c.floor, s.weight / nullif(c.reserve + c.own_factor * s.weight, 0)))
           END AS probability
    FROM guard, unnest(%(draw_batches)s::bigint[], %(draw_units)s::integer[], %(draw_attempts)s::smallint[],
                %(draw_levels)s::smallint[], %(draw_models)s::bigint[], %(draw_numbers)s::double precision[],
                %(draw_reserves)s::double precision[], %(draw_own_factors)s::double precision[],
                %(draw_floors)s::double precision[], %(draw_certains)s::double precision[],
                %(draw_youngs)s::double precision[]) WITH ORDINALITY
         AS c (batch_id, unit_number, attempt, level, model_id, draw, reserve, own_factor, floor, certain_above,
               young_above, place)
    JOIN seen s ON s.batch_id = c.batch_id AND s.unit_number = c.unit_number
    WHERE s.vehicle_id = %(vehicle_id)s AND s.attempt = c.attempt AND s.state = 'LEASED'
),
committed AS (
    UPDATE replica r
    SET state = CASE WHEN c.output IS NULL THEN 'COMMITTED' ELSE 'REPORTED' END,
        committed_at = coalesce(r.committed_at, %(now)s),
        reported_at = CASE WHEN c.output IS NOT NULL THEN %(now)s::timestamptz END,
        commitment = c.commitment, sketch = CASE WHEN r.role <> 0 THEN c.sketch END, output_bytes = c.output_bytes,
        output = c.output, output_digest = c.output_digest, seconds = c.seconds,
        sequence = coalesce(n.sequence, r.sequence),
        young = coalesce(n.weight > n.young_above, r.young),
        drawn = coalesce(r.role = 0 AND (n.draw < n.probability OR n.weight > n.young_above), r.drawn),
        comparison_class = CASE WHEN n.sequence IS NOT NULL THEN %(comparison_class)s ELSE r.comparison_class END,
        deadline_at = CASE WHEN r.state = 'LEASED' AND r.role <> 0 AND c.output IS NULL
                           THEN greatest(r.deadline_at, %(kept_until)s) ELSE r.deadline_at END
    FROM guard, unnest(%(commit_batches)s::bigint[], %(commit_units)s::integer[], %(commit_attempts)s::smallint[],
                %(commitments)s::bytea[], %(sketches)s::bytea[], %(output_sizes)s::integer[], %(outputs)s::bytea[],
                %(output_digests)s::bytea[], %(output_rows)s::integer[], %(seconds)s::real[])
         AS c (batch_id, unit_number, attempt, commitment, sketch, output_bytes, output, output_digest, rows, seconds)
    LEFT JOIN numbered n ON n.batch_id = c.batch_id AND n.unit_number = c.unit_number
    WHERE r.batch_id = c.batch_id AND r.unit_number = c.unit_number AND r.owner_id = %(owner_id)s
      AND r.batch_id = ANY (%(batches)s::bigint[])
      AND r.vehicle_id = %(vehicle_id)s AND r.attempt = c.attempt
      AND (c.rows IS NULL OR c.rows = r.rows)
      AND (r.state = 'LEASED' OR r.state = 'COMMITTED' AND c.output IS NOT NULL AND r.commitment = c.commitment)
    RETURNING r.batch_id, r.unit_number, r.state, r.role, r.attempt, r.sequence, r.weight, r.drawn
),
logged AS (
    INSERT INTO vehicle_commit
        (vehicle_id, sequence, batch_id, unit_number, owner_id, attempt, level, role, model_id, comparison_class,
         weight, probability, drawn, committed_at)
    SELECT %(vehicle_id)s, n.sequence, c.batch_id, c.unit_number, %(owner_id)s, c.attempt, n.level, c.role, n.model_id,
           %(comparison_class)s, c.weight, CASE WHEN c.role = 0 THEN n.probability ELSE 1.0 END, c.drawn, %(now)s
    FROM numbered n JOIN committed c ON c.batch_id = n.batch_id AND c.unit_number = n.unit_number
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
    RETURNING r.batch_id, r.unit_number, r.state, r.reason, r.role, r.sequence
),
due AS (
    -- A commitment that the car gives up held up what it is believed; it does no more.
    INSERT INTO trust_due (vehicle_id) SELECT vehicle_id FROM guard
    WHERE EXISTS (SELECT FROM ended WHERE sequence IS NOT NULL)
    ON CONFLICT (vehicle_id) DO NOTHING
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
    SELECT array_agg(batch_id) AS batch_ids, array_agg(unit_number) AS unit_numbers, min(deadline_at) AS deadline_at,
           count(*) FILTER (WHERE role = 1 AND state = 'LEASED' AND NOT EXISTS (
               SELECT FROM committed c WHERE (c.batch_id, c.unit_number) = (seen.batch_id, seen.unit_number))) AS audits
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
        audits_from = CASE WHEN EXISTS (SELECT FROM ended WHERE role = 1) THEN %(audits_from)s::timestamptz
                           ELSE p.audits_from END,
        audits_held = still_open.audits,
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
