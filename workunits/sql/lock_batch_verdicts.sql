-- Make this worker the one that gives verdicts on a batch; a batch that another worker holds is left to it.
-- Caller: store.verdicts.lock_verdicts. Locks: the batch's progress row until the transaction ends, so verdict numbers
-- commit in order. Index: batch_progress_pkey. Rows: 0 or 1.
SELECT p.verdict_number, b.quorum, b.status, b.level, b.lane
FROM batch_progress p
JOIN batch b ON b.id = p.batch_id
WHERE p.batch_id = %(batch_id)s
FOR UPDATE OF p SKIP LOCKED
