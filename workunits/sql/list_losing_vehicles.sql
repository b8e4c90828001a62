-- Vehicles with failed audits that had no consequences yet.
-- Caller: store.standings.list_losing_vehicles. Locks: none. Index: audit_to_settle. Rows: at most `vehicles_max`.
SELECT DISTINCT vehicle_id FROM audit
WHERE state = 'failed' AND settled_at IS NULL
ORDER BY vehicle_id LIMIT %(vehicles_max)s
