-- Open audits that something can be done about: those that wait for too long, those of batches that lease no more, and
-- those of young vehicles that were left to cars while no anchor was there: a car may be a friend's.
-- Caller: store.audits.list_audits_to_escalate, in the sweep. Locks: none. Index: audit_open, replica_one_per_owner,
-- unit_pkey.
-- Rows: at most `audits_max`, oldest first. Left out is what can only wait: a dispute in the anchors' queue, what a car
-- is running just now (its lease is short, and a second run would cost as much), and where no anchor can help, what any
-- car may run already; but not what a car holds up that keeps back its bytes. Of a completed batch cars run nothing but
-- audits. One that is paused leases none; it is waited for until `held_before`.
SELECT a.batch_id, a.unit_number, b.status, a.created_at <= %(overdue_before)s, a.created_at <= %(held_before)s
FROM audit a
JOIN batch b ON b.id = a.batch_id
CROSS JOIN LATERAL (
    SELECT coalesce(bool_or(r.state IN ('waiting', 'running')), false) AS has_run,
           coalesce(bool_or(r.state = 'failed'), false) AS has_failed
    FROM anchor_run r WHERE r.batch_id = a.batch_id AND r.unit_number = a.unit_number
) AS runs
CROSS JOIN LATERAL (
    SELECT b.status IN ('in_progress', 'finalizing', 'completed')
               OR b.status = 'paused' AND a.created_at > %(held_before)s AS is_leasing,
           (%(has_anchor)s OR a.stage <> '') AND NOT runs.has_failed AS is_helped
) AS facts
WHERE a.state = 'open'
  AND (a.created_at <= %(overdue_before)s OR NOT facts.is_leasing
       OR %(has_anchor)s AND a.reason = 'young' AND a.needs <> 'anchor')
  AND NOT (runs.has_run AND (a.stage <> '' OR %(has_anchor)s))
  AND (facts.is_helped OR NOT (facts.is_leasing AND a.needs = 'car')
       OR a.opens_at <= %(overdue_before)s AND EXISTS (
           SELECT FROM unit u JOIN replica r ON r.batch_id = u.batch_id AND r.unit_number = u.number
           WHERE u.batch_id = a.batch_id AND u.number = a.unit_number AND u.needed = 0
             AND r.role = 1 AND r.state = 'COMMITTED' AND r.bytes_wanted
           OFFSET 0))
  AND NOT EXISTS (
      SELECT FROM replica r
      WHERE r.batch_id = a.batch_id AND r.unit_number = a.unit_number AND r.role = 1 AND r.state = 'LEASED'
      OFFSET 0)
ORDER BY a.created_at
LIMIT %(audits_max)s
