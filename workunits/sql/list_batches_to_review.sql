-- Batches that have something to validate.
-- Caller: store.verdicts.list_batches_to_review. Index: batch_running, review_pkey (one probe a batch).
SELECT b.id FROM batch b
WHERE b.status NOT IN ('completed', 'failed', 'cancelled', 'expired')
  AND EXISTS (SELECT FROM review q WHERE q.batch_id = b.id OFFSET 0)
ORDER BY b.id
