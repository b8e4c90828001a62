-- Make the accounts that a settlement will credit, for owners who earn for the first time.
-- Caller: store.ledger.settle_batch, before settle_batch: a statement of its own, so that the next one sees accounts
-- that another settlement made at the same moment. Index: earning_item_by_verdict, account_code_key.
INSERT INTO account (code, kind, owner_id, created_at)
SELECT 'owner:' || o.public_id || ':earned', 'owner_earned', o.id, %(now)s
FROM owner o
WHERE o.id IN (SELECT owner_id FROM earning_item
               WHERE batch_id = %(batch_id)s AND verdict_number > %(settled)s AND verdict_number <= %(upto)s)
ORDER BY o.id
ON CONFLICT (code) DO NOTHING
