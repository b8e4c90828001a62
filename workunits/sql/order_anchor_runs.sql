-- Queue units to be run by anchors; one that is waiting or running already is not queued again.
-- Caller: store.anchors.order_runs. Locks: none but the new rows'. Index: anchor_run_one_under_way_per_unit.
-- Rows changed: one for each run that is new.
INSERT INTO anchor_run
    (batch_id, unit_number, audit_id, reason, state, attempts, created_at, claimed_by, comparison_class, output_blob,
     error)
SELECT batch_id, unit_number, audit_id, reason, 'waiting', 0, %(now)s, '', '', '', ''
FROM unnest(%(batches)s::bigint[], %(units)s::integer[], %(reasons)s::text[], %(audits)s::bigint[])
     AS ordered (batch_id, unit_number, reason, audit_id)
ORDER BY batch_id, unit_number
ON CONFLICT (batch_id, unit_number) WHERE state IN ('waiting', 'running') DO NOTHING
