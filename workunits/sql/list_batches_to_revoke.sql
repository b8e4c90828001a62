-- Batches with results that are to be taken back.
-- Caller: store.revocations.list_batches_to_revoke. Locks: none. Index: revocation_to_do. Rows: one a batch.
SELECT DISTINCT batch_id FROM revocation WHERE done_at IS NULL ORDER BY batch_id
