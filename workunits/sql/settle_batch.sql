-- Aggregate a batch's earning items since the last settlement into one transfer for each owner.
-- Caller: store.ledger.settle_batch, after locking the batch's progress row, so that no verdict is under way and the
-- watermark cannot pass an item that is not yet visible. Locks: none further. Index: earning_item_by_verdict.
-- The transfer's id is made from batch, owner and watermark: a second run adds nothing.
-- Rows: one, how many owners earned, how many transfers were written, and how many of them stood there already.
WITH earned AS (
    SELECT md5('settlement:' || %(batch_id)s || ':' || owner_id || ':' || %(upto)s)::uuid AS transfer_id,
           owner_id, sum(amount_microcredits)::bigint AS amount, count(*) AS items
    FROM earning_item
    WHERE batch_id = %(batch_id)s AND verdict_number > %(settled)s AND verdict_number <= %(upto)s
    GROUP BY owner_id
),
written AS (
    INSERT INTO transfer (id, debit_id, credit_id, amount_microcredits, kind, batch_id, detail, created_at)
    SELECT earned.transfer_id, %(budget_account_id)s, a.id, earned.amount, 'settlement', %(batch_id)s,
           earned.items || ' results, verdicts ' || (%(settled)s + 1) || ' to ' || %(upto)s, %(now)s
    FROM earned
    JOIN account a ON a.owner_id = earned.owner_id AND a.kind = 'owner_earned'
    ORDER BY earned.owner_id
    ON CONFLICT (id) DO NOTHING
    RETURNING id
)
SELECT (SELECT count(*) FROM earned), (SELECT count(*) FROM written),
       (SELECT count(*) FROM earned JOIN transfer t ON t.id = earned.transfer_id)
