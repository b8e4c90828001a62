-- Write the verdicts of one drain of one batch: replicas judged, owners' earning items beside them, units decided,
-- given an anchor's output or asked for again, audits opened and resolved, totals, events, vehicles whose trust is to
-- be folded, and the review queue emptied of what was looked at.
-- Caller: the function apply_verdicts. Locks: held already (progress row, units); replicas by primary key; trust_due
-- by vehicle, in order, so that drains of two batches cannot lock each other out.
-- The `= ANY` beside each join is for the planner, which keeps its plan: where it was made while a lane was empty, the
-- rows of a whole batch would else be looked through for every one that is meant.
-- Index: replica_one_per_owner, unit_pkey, review_pkey, audit_pkey. Rows: one: the batch's open units afterwards, and
-- the ids and units of the audits that were opened.
WITH judged AS (
    UPDATE replica r SET state = v.state, role = v.role, ended_at = %(now)s
    FROM unnest(%(replica_units)s::integer[], %(replica_owners)s::integer[], %(replica_states)s::text[],
                %(replica_roles)s::smallint[]) AS v (unit_number, owner_id, state, role)
    WHERE r.batch_id = %(batch_id)s AND r.unit_number = v.unit_number AND r.owner_id = v.owner_id
      AND r.unit_number = ANY (%(replica_units)s::integer[])
      AND (r.state = 'REPORTED' AND v.state <> 'CANCELLED'
           OR r.state IN ('LEASED', 'COMMITTED') AND v.state = 'CANCELLED'
           -- A re-run that agreed by digest or sketch never sends its bytes.
           OR r.state = 'COMMITTED' AND v.state = 'VALID' AND r.role <> 0)
    RETURNING r.unit_number, r.owner_id, r.vehicle_id, r.state, r.role, r.sequence
),
earned AS (
    INSERT INTO earning_item
        (batch_id, unit_number, owner_id, vehicle_id, amount_microcredits, verdict_number, created_at, provisional,
         verification)
    SELECT %(batch_id)s, j.unit_number, j.owner_id, j.vehicle_id, u.reward_microcredits, %(verdict_number)s, %(now)s,
           %(is_audited)s, j.role <> 0
    FROM judged j
    JOIN unit u ON u.number = j.unit_number
    WHERE u.batch_id = %(batch_id)s AND u.number = ANY (%(replica_units)s::integer[]) AND j.state = 'VALID'
),
decided AS (
    UPDATE unit u
    SET state = d.state, canonical_owner_id = d.canonical_owner_id, reason = d.reason,
        needed = d.needed, urgent = d.needed > 0, confirmed = d.confirmed, decided_at = %(now)s,
        final_at = CASE WHEN d.is_final AND d.state = 'VALIDATED' THEN %(now)s::timestamptz END
    FROM unnest(%(decided_units)s::integer[], %(decided_states)s::text[], %(decided_owners)s::integer[],
                %(decided_reasons)s::text[], %(decided_finals)s::boolean[], %(decided_needs)s::smallint[],
                %(decided_confirmed)s::smallint[])
         AS d (number, state, canonical_owner_id, reason, is_final, needed, confirmed)
    WHERE u.batch_id = %(batch_id)s AND u.number = d.number AND u.number = ANY (%(decided_units)s::integer[])
      AND u.state = 'OPEN'
    RETURNING u.number, u.state, u.rows, u.reason, u.final_at
),
changed AS (
    UPDATE unit u
    SET needed = w.needed, urgent = w.needed > 0, confirmed = least(u.confirmed + w.confirmed, 32767),
        canonical_owner_id = CASE WHEN w.adopts THEN 0 ELSE u.canonical_owner_id END,
        final_at = CASE WHEN w.adopts THEN coalesce(u.final_at, %(now)s) ELSE u.final_at END
    FROM unnest(%(changed_units)s::integer[], %(changed_needs)s::smallint[], %(changed_confirmed)s::smallint[],
                %(changed_adopts)s::boolean[], %(changed_finals)s::boolean[])
         AS w (number, needed, confirmed, adopts, is_newly_final)
    WHERE u.batch_id = %(batch_id)s AND u.number = w.number AND u.number = ANY (%(changed_units)s::integer[])
      AND u.state IN ('OPEN', 'VALIDATED', 'ASSEMBLED')
    RETURNING u.rows, w.is_newly_final
),
asked AS (
    UPDATE replica r SET bytes_wanted = true
    FROM unnest(%(asked_units)s::integer[], %(asked_owners)s::integer[]) AS a (unit_number, owner_id)
    WHERE r.batch_id = %(batch_id)s AND r.unit_number = a.unit_number AND r.owner_id = a.owner_id
      AND r.unit_number = ANY (%(asked_units)s::integer[]) AND r.state = 'COMMITTED'
),
told AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(audits)s::jsonb) AS t (
        id bigint, unit_number integer, owner_id integer, vehicle_id bigint, sequence bigint, level smallint,
        weight bigint, reason text, needs text, state text, opens_at timestamptz, primary_class text,
        auditor_vehicle_id bigint, auditor_owner_id integer, auditor_class text, stage text,
        distance double precision, detail text, drops_result boolean)
),
opened AS (
    INSERT INTO audit
        (batch_id, unit_number, vehicle_id, owner_id, sequence, level, weight_microcredits, reason, needs, state,
         created_at, opens_at, resolved_at, primary_class, auditor_vehicle_id, auditor_owner_id, auditor_class, stage,
         distance, detail)
    SELECT %(batch_id)s, unit_number, vehicle_id, owner_id, sequence, level, weight, reason, needs, state,
           %(now)s, opens_at, CASE WHEN state <> 'open' THEN %(now)s::timestamptz END, primary_class,
           auditor_vehicle_id, auditor_owner_id, auditor_class, stage, distance, detail
    FROM told WHERE id IS NULL
    RETURNING id, unit_number, owner_id, vehicle_id, level, sequence, state, reason, stage, detail
),
resolved AS (
    UPDATE audit a
    SET state = t.state, needs = t.needs, resolved_at = CASE WHEN t.state <> 'open' THEN %(now)s::timestamptz END,
        auditor_vehicle_id = t.auditor_vehicle_id, auditor_owner_id = t.auditor_owner_id,
        auditor_class = t.auditor_class, stage = t.stage, distance = t.distance, detail = t.detail
    FROM told t WHERE a.id = t.id AND a.id = ANY (ARRAY(SELECT id FROM told)) AND a.state = 'open'
    RETURNING a.id, a.unit_number, a.owner_id, a.vehicle_id, a.level, a.sequence, a.state, a.reason, a.stage, a.detail
),
outcomes AS (
    SELECT * FROM opened WHERE state <> 'open' UNION ALL SELECT * FROM resolved WHERE state <> 'open'
),
dropped AS (
    -- Taken back without blame: nobody can say that it is right. A unit that its owner was given again may have a row of
    -- his former commitment: the later one takes its place.
    INSERT INTO revocation AS held (batch_id, unit_number, owner_id, vehicle_id, sequence, audit_id, created_at)
    SELECT %(batch_id)s, o.unit_number, o.owner_id, o.vehicle_id, o.sequence, o.id, %(now)s
    FROM outcomes o
    JOIN told t ON t.unit_number = o.unit_number AND t.owner_id = o.owner_id AND t.reason = o.reason
    WHERE t.drops_result
    ON CONFLICT (batch_id, unit_number, owner_id) DO UPDATE
    SET vehicle_id = EXCLUDED.vehicle_id, sequence = EXCLUDED.sequence, audit_id = EXCLUDED.audit_id,
        created_at = EXCLUDED.created_at, done_at = NULL
    WHERE (held.vehicle_id, held.sequence) <> (EXCLUDED.vehicle_id, EXCLUDED.sequence)
),
known AS (
    INSERT INTO trust_event (vehicle_id, at, kind, level, sequence, batch_id, unit_number, detail)
    SELECT vehicle_id, %(now)s,
           CASE state WHEN 'passed' THEN 'audit_passed' WHEN 'failed' THEN 'audit_failed' ELSE 'inconclusive' END,
           level, sequence, %(batch_id)s, unit_number,
           left(concat_ws(': ', reason || ' by ' || stage, nullif(detail, '')), 300)
    FROM outcomes WHERE state IN ('passed', 'failed', 'inconclusive')
),
due AS (
    INSERT INTO trust_due (vehicle_id)
    SELECT vehicle_id FROM judged WHERE %(is_audited)s AND sequence IS NOT NULL
    UNION
    SELECT vehicle_id FROM outcomes
    ORDER BY vehicle_id
    ON CONFLICT (vehicle_id) DO NOTHING
),
noted AS (
    INSERT INTO unit_event (batch_id, unit_number, owner_id, event, detail, at)
    SELECT %(batch_id)s, unit_number, owner_id, lower(state), '', %(now)s FROM judged
    WHERE state IN ('INVALID', 'INCONCLUSIVE', 'CANCELLED')
    UNION ALL
    SELECT %(batch_id)s, number, NULL, 'failed', reason, %(now)s FROM decided WHERE state = 'FAILED'
),
emptied AS (
    DELETE FROM review q WHERE q.batch_id = %(batch_id)s AND q.id = ANY (%(review_ids)s::bigint[])
)
UPDATE batch_progress p
SET verdict_number = %(verdict_number)s,
    units_open = p.units_open - d.units,
    units_validated = p.units_validated + d.validated, rows_validated = p.rows_validated + d.rows_validated,
    units_final = p.units_final + d.final + c.final, rows_final = p.rows_final + d.rows_final + c.rows_final,
    units_failed = p.units_failed + d.failed, rows_failed = p.rows_failed + d.rows_failed
FROM (SELECT count(*) AS units,
             count(*) FILTER (WHERE state = 'VALIDATED') AS validated,
             coalesce(sum(rows) FILTER (WHERE state = 'VALIDATED'), 0) AS rows_validated,
             count(*) FILTER (WHERE final_at IS NOT NULL) AS final,
             coalesce(sum(rows) FILTER (WHERE final_at IS NOT NULL), 0) AS rows_final,
             count(*) FILTER (WHERE state = 'FAILED') AS failed,
             coalesce(sum(rows) FILTER (WHERE state = 'FAILED'), 0) AS rows_failed
      FROM decided) AS d,
     (SELECT count(*) FILTER (WHERE is_newly_final) AS final,
             coalesce(sum(rows) FILTER (WHERE is_newly_final), 0) AS rows_final
      FROM changed) AS c
WHERE p.batch_id = %(batch_id)s
RETURNING p.units_open,
          (SELECT array_agg(id ORDER BY id) FROM opened WHERE state = 'open'),
          (SELECT array_agg(unit_number ORDER BY id) FROM opened WHERE state = 'open')
