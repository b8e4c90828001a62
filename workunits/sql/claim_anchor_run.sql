-- Give an anchor the run that is wanted most: disputes first, calibration last, what was tried least, then the oldest.
-- Caller: store.anchors.claim_run, in a transaction of its own. Locks: that run; runs that another anchor is just
-- taking are passed over. Index: anchor_run_waiting, unit_pkey, shard_numbered_once. Rows changed: at most 1.
WITH chosen AS (
    SELECT id
    FROM anchor_run
    WHERE state = 'waiting'
    ORDER BY array_position('{dispute,young,overdue,class,operator,floor,calibration}', reason::text), attempts,
             created_at, id
    LIMIT 1
    FOR UPDATE SKIP LOCKED
),
taken AS (
    UPDATE anchor_run r
    SET state = 'running', attempts = r.attempts + 1, claimed_at = %(now)s, claimed_by = %(worker)s
    FROM chosen c
    WHERE r.id = c.id
    RETURNING r.id, r.batch_id, r.unit_number, r.attempts
)
SELECT t.id, t.batch_id, t.unit_number, t.attempts, u.rows, s.blob_sha256, u.byte_start, u.byte_end, u.input_digest
FROM taken t
JOIN unit u ON u.batch_id = t.batch_id AND u.number = t.unit_number
JOIN shard s ON s.batch_id = t.batch_id AND s.number = u.shard_number
