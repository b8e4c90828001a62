-- What came of the newest audits of results, by the day of the draw and level.
-- Caller: selectors.audit_statistics. Locks: none. Index: audit by id, backwards. Rows: few a day and level; read are
-- `audits_max` audits.
SELECT (created_at AT TIME ZONE 'UTC')::date AS day, level, state, count(*)
FROM (SELECT created_at, level, state, reason FROM audit ORDER BY id DESC LIMIT %(audits_max)s) a
WHERE created_at >= %(since)s AND reason NOT IN ('auditing', 'known')
GROUP BY day, level, state
ORDER BY day, level, state
