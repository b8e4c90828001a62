-- How many results were committed each day at each level with audits, and how many of them were drawn, in a share of the
-- replicas' blocks. Numbered commitments themselves are kept only until their results are final, so they would show
-- little but what waits for an audit.
-- Caller: selectors.audit_statistics, which asks for so small a share that few blocks are read. Locks: none.
-- Rows: one for each day and level.
SELECT (r.committed_at AT TIME ZONE 'UTC')::date AS day, b.level, count(*), count(*) FILTER (WHERE r.drawn)
FROM replica r TABLESAMPLE SYSTEM (%(percent)s)
JOIN batch b ON b.id = r.batch_id
WHERE r.role = 0 AND r.sequence IS NOT NULL AND r.committed_at >= %(since)s
GROUP BY day, b.level
ORDER BY day, b.level
