-- Models of which anchors could not run units since a moment: how many units, and what the last of them said.
-- Caller: store.alarms.list_models_not_run, every few minutes. Locks: none. Index: anchor_run_failed, batch_pkey.
-- Rows: one a model.
SELECT b.model_id, count(DISTINCT (r.batch_id, r.unit_number)), (array_agg(r.error ORDER BY r.done_at DESC, r.id DESC))[1]
FROM anchor_run r
JOIN batch b ON b.id = r.batch_id
WHERE r.state = 'failed' AND r.done_at > %(since)s
GROUP BY b.model_id
ORDER BY b.model_id
