-- Batches with verdicts that are not in the ledger yet.
-- Caller: store.ledger.list_batches_to_settle. One narrow row a batch, read in full: thousands, not millions.
SELECT batch_id FROM batch_progress WHERE settled_verdict_number < verdict_number ORDER BY batch_id
