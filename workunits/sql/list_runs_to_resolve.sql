-- Anchors' runs that ended and were not looked at yet.
-- Caller: store.audits.list_ended_runs. Locks: none. Index: anchor_run_to_resolve, unit_pkey.
SELECT r.id, r.batch_id, r.unit_number, r.state, r.output_blob, u.rows
FROM anchor_run r
JOIN unit u ON u.batch_id = r.batch_id AND u.number = r.unit_number
WHERE r.state IN ('done', 'failed') AND r.resolved_at IS NULL
ORDER BY r.batch_id, r.unit_number
LIMIT %(runs_max)s
