-- Lease up to `wanted` replicas of one batch to a car, and remember them in its presence row.
-- Caller: the function sync_vehicle, after record_sync, which holds the presence row.
-- Locks: unit rows, SKIP LOCKED, so that no two syncs wait for each other; then inserts replicas.
-- Index: unit_leasable_urgent and unit_leasable (one short range each), replica_one_per_owner (one probe a candidate).
-- Cost does not depend on the size of the batch: the car goes through it behind its own cursor, and looks at no more
-- than 3 * wanted + 8 units of each list: wide enough to step over what other syncs hold locked. It stops looking when
-- it has enough. OFFSET 0 keeps the owner test a probe for each candidate; as an anti-join the planner may read all
-- that the owner ever did in this batch.
-- Rows: one for each lease, as `leased`.
WITH urgent AS MATERIALIZED (
    SELECT number FROM unit
    WHERE batch_id = %(batch_id)s AND needed > 0 AND urgent
    ORDER BY number LIMIT 3 * %(wanted)s + 8
),
ahead AS MATERIALIZED (
    SELECT number FROM unit
    WHERE batch_id = %(batch_id)s AND needed > 0 AND number > %(cursor)s
    ORDER BY number LIMIT 3 * %(wanted)s + 8
),
picked_urgent AS MATERIALIZED (
    SELECT u.number, u.shard_number, u.rows, u.byte_start, u.byte_end, u.input_digest
    FROM urgent c
    JOIN unit u ON u.number = c.number
    WHERE u.batch_id = %(batch_id)s AND u.needed > 0
      AND EXISTS (SELECT FROM batch WHERE id = %(batch_id)s AND status = 'in_progress')
      AND NOT EXISTS (
          SELECT FROM replica r
          WHERE r.batch_id = %(batch_id)s AND r.unit_number = c.number AND r.owner_id = %(owner_id)s
            AND NOT (r.state IN ('RETURNED', 'EXPIRED') AND r.attempt < %(attempts_max)s)
          OFFSET 0)
    ORDER BY c.number
    LIMIT %(wanted)s
    FOR UPDATE OF u SKIP LOCKED
),
picked_ahead AS MATERIALIZED (
    SELECT u.number, u.shard_number, u.rows, u.byte_start, u.byte_end, u.input_digest
    FROM ahead c
    JOIN unit u ON u.number = c.number
    WHERE u.batch_id = %(batch_id)s AND u.needed > 0
      AND EXISTS (SELECT FROM batch WHERE id = %(batch_id)s AND status = 'in_progress')
      AND NOT EXISTS (
          SELECT FROM replica r
          WHERE r.batch_id = %(batch_id)s AND r.unit_number = c.number AND r.owner_id = %(owner_id)s
            AND NOT (r.state IN ('RETURNED', 'EXPIRED') AND r.attempt < %(attempts_max)s)
          OFFSET 0)
      AND NOT EXISTS (SELECT FROM picked_urgent p WHERE p.number = c.number)
    ORDER BY c.number
    LIMIT %(wanted)s - (SELECT count(*) FROM picked_urgent)
    FOR UPDATE OF u SKIP LOCKED
),
picked AS (
    SELECT * FROM picked_urgent UNION ALL SELECT * FROM picked_ahead
),
leased AS (
    INSERT INTO replica AS held (batch_id, unit_number, owner_id, vehicle_id, rows, leased_at, deadline_at)
    SELECT %(batch_id)s, number, %(owner_id)s, %(vehicle_id)s, rows, %(now)s, %(deadline_at)s FROM picked
    -- Either the owner had it before and handed it back, or another of his cars took it a moment ago.
    ON CONFLICT (batch_id, unit_number, owner_id) DO UPDATE
    SET state = 'LEASED', attempt = held.attempt + 1, vehicle_id = EXCLUDED.vehicle_id,
        leased_at = EXCLUDED.leased_at, deadline_at = EXCLUDED.deadline_at,
        committed_at = NULL, commitment = NULL, sketch = NULL, output_bytes = NULL, ended_at = NULL, reason = ''
    WHERE held.state IN ('RETURNED', 'EXPIRED') AND held.attempt < %(attempts_max)s
    RETURNING unit_number, attempt
),
taken AS (
    UPDATE unit u SET needed = u.needed - 1, urgent = u.urgent AND u.needed > 1
    FROM leased
    WHERE u.batch_id = %(batch_id)s AND u.number = leased.unit_number
),
position AS (
    -- Behind the last unit looked at; back to the start where the end was reached.
    SELECT CASE
        WHEN (SELECT count(*) FROM picked) >= %(wanted)s
            THEN greatest(%(cursor)s, (SELECT max(number) FROM picked_ahead))
        WHEN (SELECT count(*) FROM ahead) >= 3 * %(wanted)s + 8 THEN (SELECT max(number) FROM ahead)
        ELSE -1
    END AS cursor
),
beat AS (
    UPDATE vehicle_presence p
    SET open_batch_ids = p.open_batch_ids || coalesce(new.batch_ids, '{}'),
        open_unit_numbers = p.open_unit_numbers || coalesce(new.unit_numbers, '{}'),
        lease_expires_at = CASE WHEN new.batch_ids IS NULL THEN p.lease_expires_at ELSE
            least(p.lease_expires_at, date_bin('10 seconds', %(deadline_at)s::timestamptz, 'epoch') + interval '10 seconds') END,
        cursor_batch_id = %(batch_id)s, cursor_unit_number = position.cursor,
        -- Counted once a sync, by its first batch: a lane with two batches would otherwise be counted twice, and a car
        -- could go round the same lanes for ever.
        misses = CASE WHEN new.batch_ids IS NOT NULL THEN 0 WHEN %(turn)s = 1 THEN p.misses + 1 ELSE p.misses END
    FROM position,
         (SELECT array_agg(%(batch_id)s::bigint) AS batch_ids, array_agg(unit_number) AS unit_numbers FROM leased) AS new
    WHERE p.vehicle_id = %(vehicle_id)s
)
SELECT 'leased' AS kind, %(batch_id)s::bigint AS batch_id, p.number AS unit_number, NULL::bigint AS vehicle_id,
       leased.attempt, 'LEASED' AS state, p.rows, p.input_digest AS digest,
       s.blob_sha256::text AS shard_sha256, p.byte_start, p.byte_end
FROM leased
JOIN picked p ON p.number = leased.unit_number
JOIN shard s ON s.batch_id = %(batch_id)s AND s.number = p.shard_number
