-- Batches that have something to validate, ended ones too: a re-run may come in after a batch was completed.
-- Caller: the function list_batches_to_review. Index: review_pkey: each step jumps to the next batch in the queue.
WITH RECURSIVE queued (batch_id) AS (
    (SELECT batch_id FROM review ORDER BY batch_id LIMIT 1)
    UNION ALL
    SELECT (SELECT q.batch_id FROM review q WHERE q.batch_id > queued.batch_id ORDER BY q.batch_id LIMIT 1)
    FROM queued WHERE queued.batch_id IS NOT NULL
)
SELECT b.id FROM queued JOIN batch b ON b.id = queued.batch_id ORDER BY b.id
