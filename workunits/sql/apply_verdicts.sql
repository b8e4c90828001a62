-- Write the verdicts of one drain of one batch: replicas judged, owners' earning items beside them, units decided or
-- asked for again, totals, events, and the review queue emptied of what was looked at.
-- Caller: store.verdicts.apply_verdicts. Locks: held already (progress row, units); replicas by primary key.
-- Index: replica_one_per_owner, unit_pkey, review_pkey. Rows: one, the batch's open units afterwards.
WITH judged AS (
    UPDATE replica r SET state = v.state, ended_at = %(now)s
    FROM unnest(%(replica_units)s::integer[], %(replica_owners)s::integer[], %(replica_states)s::text[])
         AS v (unit_number, owner_id, state)
    WHERE r.batch_id = %(batch_id)s AND r.unit_number = v.unit_number AND r.owner_id = v.owner_id
      AND r.state = ANY (CASE WHEN v.state = 'CANCELLED' THEN ARRAY['LEASED', 'COMMITTED'] ELSE ARRAY['REPORTED'] END)
    RETURNING r.unit_number, r.owner_id, r.vehicle_id, r.state
),
earned AS (
    INSERT INTO earning_item
        (batch_id, unit_number, owner_id, vehicle_id, amount_microcredits, verdict_number, created_at)
    SELECT %(batch_id)s, j.unit_number, j.owner_id, j.vehicle_id, u.reward_microcredits, %(verdict_number)s, %(now)s
    FROM judged j
    JOIN unit u ON u.number = j.unit_number
    WHERE u.batch_id = %(batch_id)s AND j.state = 'VALID'
),
decided AS (
    UPDATE unit u
    SET state = d.state, canonical_owner_id = d.canonical_owner_id, reason = d.reason, needed = 0, urgent = false,
        decided_at = %(now)s, final_at = CASE WHEN d.state = 'VALIDATED' THEN %(now)s::timestamptz END
    FROM unnest(%(decided_units)s::integer[], %(decided_states)s::text[], %(decided_owners)s::integer[],
                %(decided_reasons)s::text[]) AS d (number, state, canonical_owner_id, reason)
    WHERE u.batch_id = %(batch_id)s AND u.number = d.number AND u.state = 'OPEN'
    RETURNING u.number, u.state, u.rows, u.reason
),
reopened AS (
    UPDATE unit u SET needed = w.needed, urgent = true
    FROM unnest(%(wanting_units)s::integer[], %(wanting_counts)s::smallint[]) AS w (number, needed)
    WHERE u.batch_id = %(batch_id)s AND u.number = w.number AND u.state = 'OPEN'
),
noted AS (
    INSERT INTO unit_event (batch_id, unit_number, owner_id, event, detail, at)
    SELECT %(batch_id)s, unit_number, owner_id, lower(state), '', %(now)s FROM judged
    WHERE state IN ('INVALID', 'INCONCLUSIVE', 'CANCELLED')
    UNION ALL
    SELECT %(batch_id)s, number, NULL, 'failed', reason, %(now)s FROM decided WHERE state = 'FAILED'
),
emptied AS (
    DELETE FROM review q USING unnest(%(review_ids)s::bigint[]) AS seen (id)
    WHERE q.batch_id = %(batch_id)s AND q.id = seen.id
)
UPDATE batch_progress p
SET verdict_number = %(verdict_number)s,
    units_open = p.units_open - d.units,
    units_validated = p.units_validated + d.validated, rows_validated = p.rows_validated + d.rows_validated,
    units_final = p.units_final + d.validated, rows_final = p.rows_final + d.rows_validated,
    units_failed = p.units_failed + d.failed, rows_failed = p.rows_failed + d.rows_failed
FROM (SELECT count(*) AS units,
             count(*) FILTER (WHERE state = 'VALIDATED') AS validated,
             coalesce(sum(rows) FILTER (WHERE state = 'VALIDATED'), 0) AS rows_validated,
             count(*) FILTER (WHERE state = 'FAILED') AS failed,
             coalesce(sum(rows) FILTER (WHERE state = 'FAILED'), 0) AS rows_failed
      FROM decided) AS d
WHERE p.batch_id = %(batch_id)s
RETURNING p.units_open
