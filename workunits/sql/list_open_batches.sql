-- The dispatch board: batches that have a unit to lease now; those that only wait for audits have re-runs to lease,
-- completed ones too whose researcher took provisional rows.
-- `barred`: owners among the researchers of the batch, with all of their cluster; no trust is to be bought. `capped`:
-- owners that get no new units of it for now (cap_batches).
-- Caller: the function list_open_batches, once a second and process. Locks: none.
-- Index: batch_running, batch_completed_early, unit_leasable and unit_leasable_urgent (one probe each a batch).
-- Rows: one a batch with work.
SELECT b.id, b.lane, b.priority, b.memory_bytes, b.opset, m.blob_id, b.contract, b.level, b.model_id,
       b.price_per_row_microcredits * b.unit_rows,
       (SELECT array_agg(DISTINCT coalesce(other.owner_id, o.id))
        FROM project_member pm
        JOIN owner o ON o.user_id = pm.user_id
        LEFT JOIN owner_cluster own ON own.owner_id = o.id
        LEFT JOIN owner_cluster other ON other.cluster_id = own.cluster_id
        WHERE pm.project_id = b.project_id AND b.level IN ('economy', 'standard', 'strict')),
       b.capped_owner_ids
FROM (SELECT id FROM batch WHERE status IN ('in_progress', 'finalizing')
      UNION ALL
      SELECT id FROM batch WHERE status = 'completed' AND finality = 'provisional') AS running
JOIN batch b ON b.id = running.id
JOIN model m ON m.id = b.model_id
WHERE (EXISTS (SELECT FROM unit u WHERE u.batch_id = b.id AND u.needed > 0 AND NOT u.urgent OFFSET 0)
       OR EXISTS (SELECT FROM unit u WHERE u.batch_id = b.id AND u.needed > 0 AND u.urgent OFFSET 0))
ORDER BY b.priority DESC, b.id
