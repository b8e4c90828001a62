-- Make a batch's results final that some vehicles' passed audits cover: pay, units, totals; and forget the commitments.
-- Caller: store.trust_weights.finalise_batch, holding the batch's verdict lock, so no result is taken back meanwhile.
-- Locks: units by number. Index: vehicle_commit_in_sequence, replica_one_per_owner, unit_pkey, earning_item's key.
-- Rows: one, the results that became final; none where there was nothing to do.
WITH due AS MATERIALIZED (
    SELECT c.vehicle_id, c.sequence, c.unit_number, c.owner_id
    FROM vehicle_trust t
    JOIN vehicle_commit c ON c.vehicle_id = t.vehicle_id AND c.sequence <= t.final_sequence AND c.level = t.level
    WHERE t.vehicle_id = ANY (%(vehicles)s::bigint[]) AND t.model_id = 0 AND t.comparison_class = ''
      AND c.batch_id = %(batch_id)s
),
believed AS MATERIALIZED (
    SELECT due.unit_number, due.owner_id
    FROM due
    JOIN replica r ON r.batch_id = %(batch_id)s AND r.unit_number = due.unit_number AND r.owner_id = due.owner_id
        AND r.vehicle_id = due.vehicle_id AND r.sequence = due.sequence
    WHERE r.state = 'VALID' AND NOT EXISTS (
        SELECT FROM revocation x
        WHERE x.batch_id = %(batch_id)s AND x.unit_number = due.unit_number AND x.owner_id = due.owner_id
          AND x.vehicle_id = due.vehicle_id AND x.sequence = due.sequence)
),
held AS MATERIALIZED (
    SELECT u.number FROM unit u
    JOIN believed b ON b.unit_number = u.number AND b.owner_id = u.canonical_owner_id
    WHERE u.batch_id = %(batch_id)s AND u.final_at IS NULL AND u.state IN ('VALIDATED', 'ASSEMBLED')
    ORDER BY u.number
    FOR UPDATE OF u
),
final AS (
    UPDATE unit u SET final_at = %(now)s
    FROM held WHERE u.batch_id = %(batch_id)s AND u.number = held.number
    RETURNING u.rows
),
paid AS (
    INSERT INTO earning_outcome
        (batch_id, unit_number, owner_id, outcome, amount_microcredits, verdict_number, created_at)
    SELECT i.batch_id, i.unit_number, i.owner_id, 'final', i.amount_microcredits, %(verdict_number)s, %(now)s
    FROM believed b
    JOIN earning_item i ON i.batch_id = %(batch_id)s AND i.unit_number = b.unit_number AND i.owner_id = b.owner_id
    WHERE i.provisional
    ON CONFLICT (batch_id, unit_number, owner_id) DO NOTHING
),
forgotten AS (
    DELETE FROM vehicle_commit c USING due WHERE c.vehicle_id = due.vehicle_id AND c.sequence = due.sequence
)
UPDATE batch_progress p
SET verdict_number = %(verdict_number)s,
    units_final = p.units_final + f.units, rows_final = p.rows_final + f.rows
FROM (SELECT count(*) AS units, coalesce(sum(rows), 0) AS rows FROM final) AS f
WHERE p.batch_id = %(batch_id)s AND EXISTS (SELECT FROM due)
RETURNING (SELECT count(*) FROM believed)
