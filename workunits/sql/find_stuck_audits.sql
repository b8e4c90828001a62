-- Open audits that have waited for longer than anything should: how many, and the oldest.
-- Caller: store.alarms.find_stuck_audits, every few minutes. Locks: none. Index: audit_open (those that are that old).
-- Rows: one, or none where there are no such audits.
SELECT count(*) OVER (), a.batch_id, a.unit_number, a.created_at
FROM audit a
WHERE a.state = 'open' AND a.created_at <= %(opened_before)s
ORDER BY a.created_at
LIMIT 1
