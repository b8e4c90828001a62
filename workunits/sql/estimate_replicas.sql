-- How many replicas there are, as the planner knows it; null where nothing was ever counted.
-- Caller: selectors.audit_statistics. Locks: none. Rows: one.
SELECT sum(c.reltuples) FILTER (WHERE c.reltuples > 0)
FROM pg_inherits i
JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'replica'::regclass
