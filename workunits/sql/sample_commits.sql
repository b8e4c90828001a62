-- How many results were committed each day at each level, how many of them were drawn, and with which probability, in a
-- share of the table's blocks.
-- Caller: selectors.audit_statistics, which asks for so small a share that few blocks are read. Locks: none.
-- Rows: one for each day and level.
SELECT (committed_at AT TIME ZONE 'UTC')::date AS day, level, count(*), count(*) FILTER (WHERE drawn), avg(probability)
FROM vehicle_commit TABLESAMPLE SYSTEM (%(percent)s)
WHERE role = 0 AND committed_at >= %(since)s
GROUP BY day, level
ORDER BY day, level
