-- Up to which verdict a batch's final results may be released: to the last before the first that became final since
-- `release_before`, so that no owner can tell by his credit when an audit passed.
-- Caller: store.ledger.settle_batch, holding the batch's progress row. Locks: none.
-- Index: earning_outcome_by_verdict (what is passed over is released now). Rows: one, NULL where nothing waits.
SELECT (SELECT o.verdict_number - 1 FROM earning_outcome o
        WHERE o.batch_id = %(batch_id)s AND o.verdict_number > %(released)s
          AND o.outcome = 'final' AND o.created_at >= %(release_before)s
        ORDER BY o.verdict_number LIMIT 1)
