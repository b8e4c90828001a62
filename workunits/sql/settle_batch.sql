-- Bring the ledger up to date with a batch's earning items and with what became of provisional ones: one transfer for
-- each owner and way that the money goes.
--   settlement  items behind `settled`: from the budget, or for re-runs from the platform, to what the owner has earned,
--               or to what he has provisionally
--   reversal    items that were revoked behind `settled`: from there back to where they came from
--   release     items that became final behind `released`: from there to what the owner has earned
--   premium     what the batch's level costs beside them, of each first result's pay, from the budget to the platform,
--               which pays the re-runs with it; `premium_return` for those that were revoked. Rounded down item by item,
--               so that it is the same whatever is settled together
-- Caller: store.ledger.settle_batch, after locking the batch's progress row, so that no verdict is under way and no
-- watermark can pass an item or an outcome that is not yet visible. Locks: none further.
-- Index: earning_item_by_verdict, earning_outcome_by_verdict, earning_item_one_per_replica (one probe an outcome).
-- A transfer's id is made from batch, owner, way and watermark: a second run adds nothing.
-- Rows: one, how many transfers there should be, how many were written, and how many of them stood there already.
WITH ended AS MATERIALIZED (
    SELECT o.owner_id, o.outcome, i.verification, o.amount_microcredits
    FROM earning_outcome o
    JOIN earning_item i ON i.batch_id = o.batch_id AND i.unit_number = o.unit_number AND i.owner_id = o.owner_id
    WHERE o.batch_id = %(batch_id)s AND i.batch_id = %(batch_id)s
      AND (o.outcome = 'revoked' AND o.verdict_number > %(settled)s AND o.verdict_number <= %(upto)s
           OR o.outcome = 'final' AND o.verdict_number > %(released)s AND o.verdict_number <= %(release_upto)s)
),
moved AS MATERIALIZED (
    SELECT 'settlement' AS kind, owner_id, %(upto)s AS mark,
           CASE WHEN provisional THEN ':provisional' ELSE '' END
           || CASE WHEN verification THEN ':verification' ELSE '' END AS way,
           CASE WHEN verification THEN 'verification' ELSE 'budget' END AS source,
           CASE WHEN provisional THEN 'owner_provisional' ELSE 'owner_earned' END AS target,
           sum(amount_microcredits)::bigint AS amount,
           count(*) || ' results, verdicts ' || (%(settled)s + 1) || ' to ' || %(upto)s AS detail
    FROM earning_item
    WHERE batch_id = %(batch_id)s AND verdict_number > %(settled)s AND verdict_number <= %(upto)s
    GROUP BY owner_id, provisional, verification
    UNION ALL
    SELECT 'reversal', owner_id, %(upto)s, CASE WHEN verification THEN ':verification' ELSE '' END, 'owner_provisional',
           CASE WHEN verification THEN 'verification' ELSE 'budget' END, sum(amount_microcredits)::bigint,
           count(*) || ' results taken back, verdicts ' || (%(settled)s + 1) || ' to ' || %(upto)s
    FROM ended WHERE outcome = 'revoked'
    GROUP BY owner_id, verification
    UNION ALL
    SELECT 'release', owner_id, %(release_upto)s, '', 'owner_provisional', 'owner_earned',
           sum(amount_microcredits)::bigint, count(*) || ' final results'
    FROM ended WHERE outcome = 'final'
    GROUP BY owner_id
    UNION ALL
    SELECT 'premium', 0, %(upto)s, '', 'budget', 'verification',
           sum(amount_microcredits * %(premium_ppm)s / 1000000)::bigint,
           count(*) || ' results, verdicts ' || (%(settled)s + 1) || ' to ' || %(upto)s
    FROM earning_item
    WHERE batch_id = %(batch_id)s AND verdict_number > %(settled)s AND verdict_number <= %(upto)s
      AND provisional AND NOT verification
    HAVING sum(amount_microcredits * %(premium_ppm)s / 1000000) > 0
    UNION ALL
    SELECT 'premium_return', 0, %(upto)s, '', 'verification', 'budget',
           sum(amount_microcredits * %(premium_ppm)s / 1000000)::bigint,
           count(*) || ' results taken back, verdicts ' || (%(settled)s + 1) || ' to ' || %(upto)s
    FROM ended WHERE outcome = 'revoked' AND NOT verification
    HAVING sum(amount_microcredits * %(premium_ppm)s / 1000000) > 0
),
due AS MATERIALIZED (
    SELECT md5(m.kind || ':' || %(batch_id)s || ':' || m.owner_id || ':' || m.mark || m.way)::uuid AS id, m.*,
           CASE m.source WHEN 'verification' THEN %(verification_account_id)s::bigint WHEN 'budget' THEN %(budget_account_id)s
                         ELSE provisional.id END AS debit_id,
           CASE m.target WHEN 'verification' THEN %(verification_account_id)s::bigint WHEN 'budget' THEN %(budget_account_id)s
                         WHEN 'owner_provisional' THEN provisional.id ELSE earned.id END AS credit_id
    FROM moved m
    LEFT JOIN account earned ON earned.owner_id = m.owner_id AND earned.kind = 'owner_earned'
    LEFT JOIN account provisional ON provisional.owner_id = m.owner_id AND provisional.kind = 'owner_provisional'
),
written AS (
    INSERT INTO transfer (id, debit_id, credit_id, amount_microcredits, kind, batch_id, detail, created_at)
    SELECT id, debit_id, credit_id, amount, kind, %(batch_id)s, detail, %(now)s
    FROM due
    -- What comes in before what goes on, so that no account is read below zero between two rows.
    ORDER BY kind DESC, owner_id, way
    ON CONFLICT (id) DO NOTHING
    RETURNING id
)
SELECT (SELECT count(*) FROM due), (SELECT count(*) FROM written),
       (SELECT count(*) FROM due JOIN transfer t ON t.id = due.id)
