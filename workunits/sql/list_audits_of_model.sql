-- Settled audits of a model's results since a moment, newest first, each with the cluster of whom it judged; for those
-- that failed, when that had its consequences.
-- Caller: store.alarms.list_model_audits, for a model in doubt. Locks: none.
-- Index: batch by model, audit_by_batch, owner_cluster_pkey. Rows: at most `audits_max`.
SELECT a.vehicle_id, coalesce(c.cluster_id, a.owner_id), a.primary_class, a.state = 'failed', a.level,
       a.weight_microcredits, a.settled_at, a.batch_id
FROM batch b
JOIN audit a ON a.batch_id = b.id
LEFT JOIN owner_cluster c ON c.owner_id = a.owner_id
WHERE b.model_id = %(model_id)s AND a.resolved_at > %(since)s
  AND (a.state = 'passed' OR a.state = 'failed' AND a.settled_at IS NOT NULL)
ORDER BY a.resolved_at DESC, a.id DESC
LIMIT %(audits_max)s
