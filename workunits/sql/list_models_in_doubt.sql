-- Models whose audits were lost lately by as many vehicles as an alarm needs clusters.
-- Caller: store.alarms.list_models_in_doubt, every few minutes. Locks: none.
-- Index: audit_disagreement (the newest lost ones, a bounded number), batch_pkey. Rows: few.
SELECT b.model_id
FROM (SELECT batch_id, vehicle_id, resolved_at FROM audit WHERE state = 'failed' ORDER BY id DESC LIMIT 5000) AS lost
JOIN batch b ON b.id = lost.batch_id
WHERE lost.resolved_at > %(since)s
GROUP BY b.model_id
HAVING count(DISTINCT lost.vehicle_id) >= %(vehicles_min)s
ORDER BY b.model_id
