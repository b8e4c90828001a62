-- Take results of a batch back: replicas revoked, those without a verdict cancelled so that they never get one, units
-- opened again whose result they were, or cancelled where nobody runs them any more; their open audits, what they
-- earned and is not final, totals, events, reviews.
-- Caller: store.revocations.take_back, after lock_revoked_units. Locks: held already (progress row, batch, units);
-- replicas by primary key; trust_due by vehicle, in order. Index: revocation_to_do, replica_one_per_owner, unit_pkey,
-- audit_one_open_per_unit. Rows: one: units and rows that lost their result, and how many of them were in a file.
WITH due AS MATERIALIZED (
    SELECT id, unit_number, owner_id, vehicle_id, sequence FROM revocation
    WHERE batch_id = %(batch_id)s AND done_at IS NULL AND unit_number = ANY (%(units)s::integer[])
    ORDER BY unit_number, owner_id
),
taken AS (
    UPDATE replica r
    SET state = CASE WHEN r.state = 'VALID' THEN 'REVOKED' ELSE 'CANCELLED' END, ended_at = %(now)s,
        reason = 'taken back'
    FROM due
    WHERE r.batch_id = %(batch_id)s AND r.unit_number = due.unit_number AND r.owner_id = due.owner_id
      AND r.vehicle_id = due.vehicle_id AND r.sequence = due.sequence AND r.state IN ('VALID', 'COMMITTED', 'REPORTED')
    RETURNING r.unit_number, r.owner_id, r.vehicle_id, r.state, r.role, r.sequence
),
before AS MATERIALIZED (
    SELECT u.number, u.rows, u.state, u.final_at IS NOT NULL AS is_final,
           bool_or(t.owner_id = u.canonical_owner_id) AS is_opened, count(*) FILTER (WHERE t.role = 1) AS checks
    FROM taken t
    JOIN unit u ON u.batch_id = %(batch_id)s AND u.number = t.unit_number
    WHERE t.state = 'REVOKED' AND u.state IN ('VALIDATED', 'ASSEMBLED')
    GROUP BY u.number, u.rows, u.state, is_final
),
opened AS (
    UPDATE unit u
    SET state = %(state)s, canonical_owner_id = NULL, final_at = NULL, confirmed = 0,
        needed = CASE WHEN %(state)s = 'OPEN' THEN 1 ELSE 0 END, urgent = %(state)s = 'OPEN',
        decided_at = CASE WHEN %(state)s <> 'OPEN' THEN %(now)s::timestamptz END,
        reason = CASE WHEN %(state)s <> 'OPEN' THEN 'its result was taken back' ELSE '' END
    FROM before b
    WHERE u.batch_id = %(batch_id)s AND u.number = b.number AND b.is_opened
    RETURNING u.rows, b.is_final, b.state AS was
),
less_confirmed AS (
    UPDATE unit u SET confirmed = greatest(0, u.confirmed - b.checks)
    FROM before b
    WHERE u.batch_id = %(batch_id)s AND u.number = b.number AND NOT b.is_opened AND b.checks > 0
),
voided AS (
    UPDATE audit a SET state = 'void', resolved_at = %(now)s, detail = 'the result was taken back'
    FROM due
    WHERE a.batch_id = %(batch_id)s AND a.unit_number = due.unit_number AND a.owner_id = due.owner_id
      AND a.sequence = due.sequence AND a.state = 'open'
),
unpaid AS (
    INSERT INTO earning_outcome
        (batch_id, unit_number, owner_id, outcome, amount_microcredits, verdict_number, created_at)
    SELECT i.batch_id, i.unit_number, i.owner_id, 'revoked', i.amount_microcredits, %(verdict_number)s, %(now)s
    FROM taken t
    JOIN earning_item i ON i.batch_id = %(batch_id)s AND i.unit_number = t.unit_number AND i.owner_id = t.owner_id
    WHERE t.state = 'REVOKED' AND i.provisional
    ON CONFLICT (batch_id, unit_number, owner_id) DO NOTHING
),
noted AS (
    INSERT INTO unit_event (batch_id, unit_number, owner_id, event, detail, at)
    SELECT %(batch_id)s, unit_number, owner_id, lower(state), 'taken back', %(now)s FROM taken
),
queued AS (
    INSERT INTO review (batch_id, unit_number) SELECT DISTINCT %(batch_id)s::bigint, unit_number FROM due
),
done AS (
    UPDATE revocation x SET done_at = %(now)s FROM due WHERE x.id = due.id
),
again AS (
    INSERT INTO trust_due (vehicle_id) SELECT DISTINCT vehicle_id FROM due ORDER BY vehicle_id
    ON CONFLICT (vehicle_id) DO NOTHING
),
counts AS (
    SELECT count(*) AS units, coalesce(sum(rows), 0) AS rows, count(*) FILTER (WHERE is_final) AS units_final,
           coalesce(sum(rows) FILTER (WHERE is_final), 0) AS rows_final,
           count(*) FILTER (WHERE was = 'ASSEMBLED') AS units_assembled
    FROM opened
)
UPDATE batch_progress p
SET verdict_number = %(verdict_number)s,
    units_open = p.units_open + CASE WHEN %(state)s = 'OPEN' THEN c.units ELSE 0 END,
    units_cancelled = p.units_cancelled + CASE WHEN %(state)s = 'OPEN' THEN 0 ELSE c.units END,
    rows_cancelled = p.rows_cancelled + CASE WHEN %(state)s = 'OPEN' THEN 0 ELSE c.rows END,
    units_validated = p.units_validated - c.units, rows_validated = p.rows_validated - c.rows,
    units_final = p.units_final - c.units_final, rows_final = p.rows_final - c.rows_final,
    rows_revoked = p.rows_revoked + c.rows
FROM counts c
WHERE p.batch_id = %(batch_id)s
RETURNING c.units, c.rows, c.units_assembled
