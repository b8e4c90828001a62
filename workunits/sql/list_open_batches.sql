-- The dispatch board: batches that are in progress, and whether they have a unit to lease now.
-- Caller: store.board.read_open_batches, once a second and process. Locks: none.
-- Index: batch_running, unit_leasable (one probe a batch). Rows: one a batch with work.
SELECT b.id, b.lane, b.priority, b.memory_bytes, b.opset, m.blob_id, b.contract
FROM batch b
JOIN model m ON m.id = b.model_id
WHERE b.status = 'in_progress'
  AND EXISTS (SELECT FROM unit u WHERE u.batch_id = b.id AND u.needed > 0 OFFSET 0)
ORDER BY b.priority DESC, b.id
