-- Lease up to `wanted` replicas of one batch to a car, and remember them in its presence row.
-- Caller: the function sync_vehicle, after record_sync, which holds the presence row, and after lease_known.
-- Locks: unit rows, SKIP LOCKED, so that no two syncs wait for each other; then inserts replicas.
-- First what is urgent (units that came back, and audits), then primary work; no car can tell them apart. Units are gone
-- through in the order of their place, a secret permutation: primary work behind the car's own cursor, what is urgent
-- from `start` on, which is drawn anew for each sync where there are audits, for those that this car may not have would
-- otherwise hide the others for ever.
-- Nobody gets a unit that one of his cluster (`cluster_owners`, himself included) has or had, except that an owner may
-- have again what he gave back. An audit waits until it opens; of those that opened after `audits_by` this car gets
-- none, and none where that is NULL. It holds at most `audits_max` audits: whoever gathers many to look for a friend's,
-- and lets the others lapse, would otherwise see most of them. One that is a side of three open disputes gets none until
-- an anchor has settled one: where there is none, a single liar would bring all results of a fleet to a stop.
-- Index: unit_leasable_urgent and unit_leasable (one short range each), replica_one_per_owner (one probe a candidate and
-- owner), audit_one_open_per_unit, audit_disputed_by. Cost does not depend on the size of the batch: it looks at no more
-- than 3 * wanted + 8 units of each list, wide enough to step over what other syncs hold locked. OFFSET 0 keeps the
-- owner test a probe for each candidate; as an anti-join the planner may read all that the owner ever did in this batch.
-- Rows: one for each lease, as `leased`.
WITH urgent AS MATERIALIZED (
    SELECT number, place FROM unit
    WHERE batch_id = %(batch_id)s AND needed > 0 AND urgent AND place >= %(start)s
    ORDER BY place LIMIT 3 * %(wanted)s + 8
),
ahead AS MATERIALIZED (
    SELECT number, place FROM unit
    WHERE batch_id = %(batch_id)s AND needed > 0 AND NOT urgent AND place > %(cursor)s
    ORDER BY place LIMIT 3 * %(wanted)s + 8
),
audits AS MATERIALIZED (
    SELECT c.number FROM urgent c
    WHERE EXISTS (
              SELECT FROM audit a
              WHERE a.batch_id = %(batch_id)s AND a.unit_number = c.number AND a.state = 'open'
                AND a.opens_at <= %(audits_by)s
                AND (a.needs = 'car' OR a.needs = 'other_class' AND a.primary_class <> %(comparison_class)s)
              OFFSET 0)
      AND NOT EXISTS (
          SELECT FROM replica r
          WHERE r.batch_id = %(batch_id)s AND r.unit_number = c.number AND r.owner_id = ANY (%(cluster_owners)s)
            AND NOT (r.state IN ('RETURNED', 'EXPIRED')
                     AND (r.owner_id <> %(owner_id)s OR r.attempt < %(attempts_max)s))
          OFFSET 0)
    LIMIT CASE
        WHEN (SELECT count(*) FROM audit d WHERE d.auditor_vehicle_id = %(vehicle_id)s AND d.state = 'open') >= 3 THEN 0
        ELSE greatest(0, %(audits_max)s
                         - (SELECT p.audits_held FROM vehicle_presence p WHERE p.vehicle_id = %(vehicle_id)s))
    END
),
picked_urgent AS MATERIALIZED (
    SELECT u.number, u.place, u.shard_number, u.rows, u.byte_start, u.byte_end, u.input_digest, u.reward_microcredits,
           (CASE WHEN u.state = 'OPEN' THEN 0 ELSE 1 END)::smallint AS role
    FROM urgent c
    JOIN unit u ON u.number = c.number
    WHERE u.batch_id = %(batch_id)s AND u.needed > 0
      -- What a completed batch needs are audits of the rows that it handed out as provisional.
      AND EXISTS (SELECT FROM batch WHERE id = %(batch_id)s AND status IN ('in_progress', 'finalizing', 'completed'))
      AND NOT EXISTS (
          SELECT FROM replica r
          WHERE r.batch_id = %(batch_id)s AND r.unit_number = c.number AND r.owner_id = ANY (%(cluster_owners)s)
            AND NOT (r.state IN ('RETURNED', 'EXPIRED')
                     AND (r.owner_id <> %(owner_id)s OR r.attempt < %(attempts_max)s))
          OFFSET 0)
      AND (u.state = 'OPEN' OR EXISTS (SELECT FROM audits WHERE audits.number = c.number))
    LIMIT %(wanted)s
    FOR UPDATE OF u SKIP LOCKED
),
picked_ahead AS MATERIALIZED (
    SELECT u.number, u.place, u.shard_number, u.rows, u.byte_start, u.byte_end, u.input_digest, u.reward_microcredits,
           0::smallint AS role
    FROM ahead c
    JOIN unit u ON u.number = c.number
    WHERE u.batch_id = %(batch_id)s AND u.needed > 0 AND u.state = 'OPEN'
      AND EXISTS (SELECT FROM batch WHERE id = %(batch_id)s AND status = 'in_progress')
      AND NOT EXISTS (
          SELECT FROM replica r
          WHERE r.batch_id = %(batch_id)s AND r.unit_number = c.number AND r.owner_id = ANY (%(cluster_owners)s)
            AND NOT (r.state IN ('RETURNED', 'EXPIRED')
                     AND (r.owner_id <> %(owner_id)s OR r.attempt < %(attempts_max)s))
          OFFSET 0)
    ORDER BY c.place
    LIMIT %(wanted)s - (SELECT count(*) FROM picked_urgent)
    FOR UPDATE OF u SKIP LOCKED
),
picked AS (
    SELECT * FROM picked_urgent UNION ALL SELECT * FROM picked_ahead
),
leased AS (
    INSERT INTO replica AS held
        (batch_id, unit_number, owner_id, vehicle_id, rows, leased_at, deadline_at, role, weight)
    SELECT %(batch_id)s, number, %(owner_id)s, %(vehicle_id)s, rows, %(now)s, %(deadline_at)s, role,
           reward_microcredits
    FROM picked
    -- Either the owner had it before and handed it back, or another of his cars took it a moment ago.
    ON CONFLICT (batch_id, unit_number, owner_id) DO UPDATE
    SET state = 'LEASED', attempt = held.attempt + 1, vehicle_id = EXCLUDED.vehicle_id,
        leased_at = EXCLUDED.leased_at, deadline_at = EXCLUDED.deadline_at, role = EXCLUDED.role,
        weight = EXCLUDED.weight, sequence = NULL, drawn = false, young = false, comparison_class = '',
        bytes_wanted = false, committed_at = NULL, commitment = NULL, sketch = NULL, output_bytes = NULL,
        ended_at = NULL, reason = ''
    WHERE held.state IN ('RETURNED', 'EXPIRED') AND held.attempt < %(attempts_max)s
    RETURNING unit_number, attempt, role
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
            THEN greatest(%(cursor)s, (SELECT max(place) FROM picked_ahead))
        WHEN (SELECT count(*) FROM ahead) >= 3 * %(wanted)s + 8 THEN (SELECT max(place) FROM ahead)
        ELSE -1
    END AS cursor
),
beat AS (
    UPDATE vehicle_presence p
    SET open_batch_ids = p.open_batch_ids || coalesce(new.batch_ids, '{}'),
        open_unit_numbers = p.open_unit_numbers || coalesce(new.unit_numbers, '{}'),
        lease_expires_at = CASE WHEN new.batch_ids IS NULL THEN p.lease_expires_at ELSE
            least(p.lease_expires_at, date_bin('10 seconds', %(deadline_at)s::timestamptz, 'epoch') + interval '10 seconds') END,
        audits_held = p.audits_held + new.audits,
        cursor_batch_id = %(batch_id)s, cursor_unit_number = position.cursor,
        -- Counted once a sync, by its first batch: a lane with two batches would otherwise be counted twice, and a car
        -- could go round the same lanes for ever.
        misses = CASE WHEN new.batch_ids IS NOT NULL THEN 0 WHEN %(turn)s = 1 THEN p.misses + 1 ELSE p.misses END
    FROM position,
         (SELECT array_agg(%(batch_id)s::bigint) AS batch_ids, array_agg(unit_number) AS unit_numbers,
                 count(*) FILTER (WHERE role = 1) AS audits
          FROM leased) AS new
    WHERE p.vehicle_id = %(vehicle_id)s
)
SELECT 'leased' AS kind, %(batch_id)s::bigint AS batch_id, p.number AS unit_number, NULL::bigint AS vehicle_id,
       leased.attempt, 'LEASED' AS state, p.rows, p.input_digest AS digest,
       s.blob_sha256::text AS shard_sha256, p.byte_start, p.byte_end, leased.role, false AS bytes_wanted
FROM leased
JOIN picked p ON p.number = leased.unit_number
JOIN shard s ON s.batch_id = %(batch_id)s AND s.number = p.shard_number
