-- The next units to look at in a batch, locked in order of their number.
-- Caller: store.verdicts.take_reviews, after lock_batch_verdicts. A lease that is under way finishes first, so the
-- replicas must be read by a later statement. `review_ids` are those that may be removed once the unit was looked at:
-- one with a lower id may still be on its way, for ids are drawn before their transaction commits.
-- Index: review_pkey, unit_pkey. Rows: at most `reviews_max`.
WITH queue AS MATERIALIZED (
    SELECT id, unit_number FROM review
    WHERE batch_id = %(batch_id)s AND (%(only)s::integer[] IS NULL OR unit_number = ANY (%(only)s::integer[]))
    ORDER BY id LIMIT %(reviews_max)s
),
asked AS (
    SELECT unit_number, array_agg(id) AS review_ids FROM queue GROUP BY unit_number
)
SELECT u.number, u.state, u.needed, u.rows, u.reward_microcredits, u.canonical_owner_id,
       u.final_at IS NOT NULL, asked.review_ids
FROM unit u
JOIN asked ON asked.unit_number = u.number
WHERE u.batch_id = %(batch_id)s
ORDER BY u.number
FOR UPDATE OF u
