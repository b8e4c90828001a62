-- Pairs of owners that met in audits since `since` more than `usual` times, and more than four times as often as chance
-- would have it: what an operator may take for a lead. Owner 0 is an anchor.
-- Caller: selectors.clusters.list_frequent_pairs, on an operator's request. Locks: none. Index: audit by id, backwards;
-- read are the newest `audits_max` audits. Rows: at most `pairs_max`.
WITH met AS MATERIALIZED (
    SELECT least(owner_id, auditor_owner_id) AS first_id, greatest(owner_id, auditor_owner_id) AS second_id, owner_id,
           auditor_owner_id
    FROM (SELECT * FROM audit ORDER BY id DESC LIMIT %(audits_max)s) AS newest
    WHERE resolved_at > %(since)s AND auditor_owner_id > 0 AND owner_id > 0 AND reason NOT IN ('auditing', 'known')
),
busy AS (
    SELECT owner_id, count(*) AS times
    FROM (SELECT owner_id FROM met UNION ALL SELECT auditor_owner_id FROM met) AS side
    GROUP BY owner_id
),
pair AS (
    SELECT first_id, second_id, count(*) AS times FROM met GROUP BY first_id, second_id HAVING count(*) > %(usual)s
)
SELECT one.public_id, other.public_id, pair.times,
       first.times::float * second.times / (2.0 * (SELECT count(*) FROM met)) AS expected
FROM pair
JOIN busy first ON first.owner_id = pair.first_id
JOIN busy second ON second.owner_id = pair.second_id
JOIN owner one ON one.id = pair.first_id
JOIN owner other ON other.id = pair.second_id
WHERE pair.times > 4.0 * first.times * second.times / (2.0 * (SELECT count(*) FROM met))
ORDER BY pair.times DESC, one.public_id, other.public_id
LIMIT %(pairs_max)s
