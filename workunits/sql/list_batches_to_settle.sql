-- Batches with verdicts that are not in the ledger yet, or with results that became final before the present set.
-- Caller: store.ledger.list_batches_to_settle. One narrow row a batch, read in full: thousands, not millions.
-- Index: earning_outcome_by_verdict (one probe for each batch with results to release).
SELECT p.batch_id
FROM batch_progress p
WHERE p.settled_verdict_number < p.verdict_number
   OR p.released_verdict_number < p.verdict_number
      AND (SELECT o.created_at FROM earning_outcome o
           WHERE o.batch_id = p.batch_id AND o.verdict_number > p.released_verdict_number AND o.outcome = 'final'
           ORDER BY o.verdict_number LIMIT 1) < %(release_before)s
ORDER BY p.batch_id
