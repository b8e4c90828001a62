-- Open audits of results that stand, and ask for the units that cars may run again. One whose unit an anchor has run
-- needs no other run: the unit is looked at, and the anchor's output settles it.
-- Caller: store.audits.open_audits, holding the batch's verdict lock. Locks: units by number.
-- Index: audit_one_open_per_unit, unit_pkey. Rows: one for each audit opened: a unit that has an open one is left out,
-- and so is one whose result is not this owner's any more.
WITH told AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(audits)s::jsonb) AS t (
        unit_number integer, owner_id integer, vehicle_id bigint, sequence bigint, level smallint, weight bigint,
        reason text, needs text, opens_at timestamptz, primary_class text)
),
standing AS MATERIALIZED (
    SELECT u.number, u.canonical_owner_id = 0 AS has_anchor FROM unit u
    JOIN told t ON t.unit_number = u.number
    JOIN replica r ON r.batch_id = %(batch_id)s AND r.unit_number = t.unit_number AND r.owner_id = t.owner_id
    WHERE u.batch_id = %(batch_id)s AND u.state IN ('VALIDATED', 'ASSEMBLED') AND r.state = 'VALID'
    ORDER BY u.number
    FOR UPDATE OF u
),
opened AS (
    INSERT INTO audit
        (batch_id, unit_number, vehicle_id, owner_id, sequence, level, weight_microcredits, reason, needs, state,
         created_at, opens_at, primary_class, auditor_class, stage, detail)
    SELECT %(batch_id)s, t.unit_number, t.vehicle_id, t.owner_id, t.sequence, t.level, t.weight, t.reason,
           CASE WHEN s.has_anchor THEN 'car' ELSE t.needs END, 'open', %(now)s, t.opens_at, t.primary_class, '', '', ''
    FROM told t JOIN standing s ON s.number = t.unit_number
    ON CONFLICT (batch_id, unit_number) WHERE state = 'open' DO NOTHING
    RETURNING id, unit_number, reason, needs
),
asked AS (
    UPDATE unit u SET needed = 1, urgent = true
    FROM opened o
    WHERE u.batch_id = %(batch_id)s AND u.number = o.unit_number AND o.needs <> 'anchor'
),
queued AS (
    INSERT INTO review (batch_id, unit_number)
    SELECT %(batch_id)s, o.unit_number FROM opened o JOIN standing s ON s.number = o.unit_number WHERE s.has_anchor
)
SELECT id, unit_number, reason, needs FROM opened
