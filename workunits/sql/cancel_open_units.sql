-- End some open units of a batch that is being cancelled, with whatever replicas they still have.
-- Caller: store.recovery.cancel_open_units, holding the batch's verdict lock. Index: unit_pkey, replica_one_per_owner.
-- Rows: one, the units still open afterwards.
WITH ending AS MATERIALIZED (
    SELECT number FROM unit WHERE batch_id = %(batch_id)s AND state = 'OPEN'
    ORDER BY number LIMIT %(units_max)s FOR UPDATE
),
ended AS (
    UPDATE unit u
    SET state = 'CANCELLED', needed = 0, urgent = false, decided_at = %(now)s, reason = %(reason)s
    FROM ending WHERE u.batch_id = %(batch_id)s AND u.number = ending.number
    RETURNING u.number, u.rows
),
dropped AS (
    UPDATE replica r SET state = 'CANCELLED', ended_at = %(now)s, reason = %(reason)s
    FROM ended
    WHERE r.batch_id = %(batch_id)s AND r.unit_number = ended.number
      AND r.state IN ('LEASED', 'COMMITTED', 'REPORTED')
    RETURNING r.vehicle_id, r.sequence
),
due AS (
    -- What was committed and never judged holds up what its car is believed no more.
    INSERT INTO trust_due (vehicle_id) SELECT DISTINCT vehicle_id FROM dropped WHERE sequence IS NOT NULL
    ORDER BY vehicle_id
    ON CONFLICT (vehicle_id) DO NOTHING
),
emptied AS (
    DELETE FROM review q USING ended WHERE q.batch_id = %(batch_id)s AND q.unit_number = ended.number
)
UPDATE batch_progress p
SET units_open = p.units_open - d.units, units_cancelled = p.units_cancelled + d.units,
    rows_cancelled = p.rows_cancelled + d.rows
FROM (SELECT count(*) AS units, coalesce(sum(rows), 0) AS rows FROM ended) AS d
WHERE p.batch_id = %(batch_id)s
RETURNING p.units_open
