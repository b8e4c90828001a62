-- Make the accounts that a settlement will credit, for owners who earn for the first time.
-- Caller: store.ledger.settle_batch, before settle_batch: a statement of its own, so that the next one sees accounts
-- that another settlement made at the same moment. Index: earning_item_by_verdict, earning_outcome_by_verdict,
-- account_code_key.
WITH credited AS (
    SELECT owner_id, CASE WHEN provisional THEN 'provisional' ELSE 'earned' END AS part
    FROM earning_item
    WHERE batch_id = %(batch_id)s AND verdict_number > %(settled)s AND verdict_number <= %(upto)s
    UNION
    SELECT owner_id, 'earned'
    FROM earning_outcome
    WHERE batch_id = %(batch_id)s AND outcome = 'final'
      AND verdict_number > %(released)s AND verdict_number <= %(release_upto)s
)
INSERT INTO account (code, kind, owner_id, created_at)
SELECT 'owner:' || o.public_id || ':' || c.part, 'owner_' || c.part, o.id, %(now)s
FROM credited c
JOIN owner o ON o.id = c.owner_id
ORDER BY o.id, c.part
ON CONFLICT (code) DO NOTHING
