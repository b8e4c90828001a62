-- How many commitments are kept, as the planner knows it; below zero where nothing was ever counted.
-- Caller: selectors.audit_statistics. Locks: none. Rows: one.
SELECT reltuples FROM pg_class WHERE oid = 'vehicle_commit'::regclass
