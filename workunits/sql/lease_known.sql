-- Lease up to `known` units of one batch whose results were confirmed to a car that is new to the batch's level: it is
-- tried with them, and cannot tell them from other work. What it has answered and what is not yet folded into its trust
-- counts: it would otherwise be tried and paid without end while it keeps one commitment open, which holds up the fold.
-- Caller: the function sync_vehicle, after record_sync, which holds the presence row, for a young car only.
-- Locks: unit rows, SKIP LOCKED, though they need nothing and lose nothing: two cars of one owner would otherwise insert
-- the same replicas in two orders, and lock each other out. Then the replicas that it inserts.
-- Index: unit_known (two short ranges: from a random place on, and from the start), replica_one_per_owner (one probe a
-- candidate and owner), vehicle_commit_in_sequence (one range). Rows: one for each lease, as `leased`.
WITH known AS MATERIALIZED (
    (SELECT number FROM unit
     WHERE batch_id = %(batch_id)s AND confirmed > 0 AND state IN ('VALIDATED', 'ASSEMBLED') AND place >= %(any_place)s
     ORDER BY place LIMIT 3 * %(known)s + 8)
    UNION ALL
    (SELECT number FROM unit
     WHERE batch_id = %(batch_id)s AND confirmed > 0 AND state IN ('VALIDATED', 'ASSEMBLED') AND place < %(any_place)s
     ORDER BY place LIMIT 3 * %(known)s + 8)
),
picked AS MATERIALIZED (
    SELECT u.number, u.shard_number, u.rows, u.byte_start, u.byte_end, u.input_digest, u.reward_microcredits
    FROM known c
    JOIN unit u ON u.number = c.number
    WHERE u.batch_id = %(batch_id)s
      AND EXISTS (SELECT FROM batch WHERE id = %(batch_id)s AND status IN ('in_progress', 'finalizing'))
      AND NOT EXISTS (
          SELECT FROM replica r
          WHERE r.batch_id = %(batch_id)s AND r.unit_number = c.number AND r.owner_id = ANY (%(cluster_owners)s)
          OFFSET 0)
    LIMIT greatest(0, least(%(wanted)s, %(known)s - (
        SELECT count(*) FROM vehicle_commit c
        WHERE c.vehicle_id = %(vehicle_id)s AND c.role = 2
          AND c.sequence > coalesce((SELECT s.folded_sequence FROM vehicle_standing s
                                     WHERE s.vehicle_id = %(vehicle_id)s), 0))))
    FOR NO KEY UPDATE OF u SKIP LOCKED
),
leased AS (
    INSERT INTO replica (batch_id, unit_number, owner_id, vehicle_id, rows, leased_at, deadline_at, role, weight)
    SELECT %(batch_id)s, number, %(owner_id)s, %(vehicle_id)s, rows, %(now)s, %(deadline_at)s, 2, reward_microcredits
    FROM picked
    ON CONFLICT (batch_id, unit_number, owner_id) DO NOTHING
    RETURNING unit_number, attempt, role
),
beat AS (
    UPDATE vehicle_presence p
    SET open_batch_ids = p.open_batch_ids || new.batch_ids, open_unit_numbers = p.open_unit_numbers || new.unit_numbers,
        lease_expires_at = least(
            p.lease_expires_at, date_bin('10 seconds', %(deadline_at)s::timestamptz, 'epoch') + interval '10 seconds'),
        misses = 0
    FROM (SELECT array_agg(%(batch_id)s::bigint) AS batch_ids, array_agg(unit_number) AS unit_numbers FROM leased) AS new
    WHERE p.vehicle_id = %(vehicle_id)s AND new.batch_ids IS NOT NULL
)
SELECT 'leased' AS kind, %(batch_id)s::bigint AS batch_id, p.number AS unit_number, NULL::bigint AS vehicle_id,
       leased.attempt, 'LEASED' AS state, p.rows, p.input_digest AS digest,
       s.blob_sha256::text AS shard_sha256, p.byte_start, p.byte_end, leased.role, false AS bytes_wanted
FROM leased
JOIN picked p ON p.number = leased.unit_number
JOIN shard s ON s.batch_id = %(batch_id)s AND s.number = p.shard_number
