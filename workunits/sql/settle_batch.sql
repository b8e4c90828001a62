-- Aggregate a batch's earning items since the last settlement into one transfer for each owner.
-- Caller: store.ledger.settle_batch, after locking the batch's progress row, so that no verdict is under way and the
-- watermark cannot pass an item that is not yet visible. Locks: none further. Index: earning_item_by_verdict.
-- The transfer's id is made from batch, owner and watermark: a second run adds nothing. Rows: one a transfer.
WITH earned AS (
    SELECT owner_id, sum(amount_microcredits)::bigint AS amount, count(*) AS items
    FROM earning_item
    WHERE batch_id = %(batch_id)s AND verdict_number > %(settled)s AND verdict_number <= %(upto)s
    GROUP BY owner_id
),
opened AS (
    INSERT INTO account (code, kind, owner_id, created_at)
    SELECT 'owner:' || o.public_id || ':earned', 'owner_earned', o.id, %(now)s
    FROM earned JOIN owner o ON o.id = earned.owner_id
    ORDER BY o.id
    ON CONFLICT (code) DO NOTHING
    RETURNING id, owner_id
),
earned_account AS (
    SELECT id, owner_id FROM opened
    UNION
    SELECT a.id, a.owner_id FROM account a JOIN earned ON earned.owner_id = a.owner_id WHERE a.kind = 'owner_earned'
)
INSERT INTO transfer (id, debit_id, credit_id, amount_microcredits, kind, batch_id, detail, created_at)
SELECT md5('settlement:' || %(batch_id)s || ':' || earned.owner_id || ':' || %(upto)s)::uuid,
       %(budget_account_id)s, a.id, earned.amount, 'settlement', %(batch_id)s,
       earned.items || ' results, verdicts ' || (%(settled)s + 1) || ' to ' || %(upto)s, %(now)s
FROM earned JOIN earned_account a ON a.owner_id = earned.owner_id
ORDER BY earned.owner_id
ON CONFLICT (id) DO NOTHING
RETURNING id
