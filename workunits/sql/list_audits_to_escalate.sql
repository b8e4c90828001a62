-- Open audits that no car may settle in time: those that wait for too long, and those of batches that lease no more.
-- Caller: store.audits.list_audits_to_escalate, in the sweep. Locks: none. Index: audit_open.
-- Rows: at most `audits_max`, oldest first; disputes that an anchor has in its queue are not among them.
SELECT a.batch_id, a.unit_number, b.status, a.created_at <= %(overdue_before)s
FROM audit a
JOIN batch b ON b.id = a.batch_id
WHERE a.state = 'open'
  AND (a.created_at <= %(overdue_before)s OR b.status NOT IN ('in_progress', 'paused', 'finalizing'))
  AND NOT EXISTS (SELECT FROM anchor_run r
                  WHERE r.batch_id = a.batch_id AND r.unit_number = a.unit_number AND r.state IN ('waiting', 'running')
                    AND (a.stage <> '' OR %(has_anchor)s))
ORDER BY a.created_at
LIMIT %(audits_max)s
