-- What is known of the audits of some units of one batch: open ones and those lost or left undecided, and anchors' runs
-- that are under way or came to nothing.
-- Caller: store.audits.list_audits, with the units locked; only for units that have a result or more than one replica.
-- Index: audit_one_open_per_unit, audit_by_batch, anchor_run by batch. Rows: few a unit.
SELECT 'audit', unit_number, id, owner_id, vehicle_id, sequence, level, weight_microcredits, reason, needs, state,
       opens_at, primary_class, auditor_vehicle_id, auditor_owner_id, auditor_class, stage, distance, detail
FROM audit
WHERE batch_id = %(batch_id)s AND unit_number = ANY (%(units)s::integer[])
  AND state IN ('open', 'failed', 'inconclusive')
UNION ALL
SELECT 'run', unit_number, id, NULL, NULL, NULL, NULL, NULL, reason, NULL, state, NULL, NULL, NULL, NULL, NULL, NULL,
       NULL, NULL
FROM anchor_run
WHERE batch_id = %(batch_id)s AND unit_number = ANY (%(units)s::integer[])
  AND state IN ('waiting', 'running', 'failed')
