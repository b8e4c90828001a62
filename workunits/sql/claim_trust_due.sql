-- Take vehicles whose results were judged since their trust was last folded, and lock where they stand.
-- Caller: store.trust_weights.claim_due. Locks: trust_due by vehicle, then vehicle_standing, both SKIP LOCKED. A verdict
-- that comes meanwhile waits to put its vehicle back, so that none is lost.
-- Index: trust_due_pkey. Rows: none; `lock_due_standings` reads what was locked.
WITH due AS MATERIALIZED (
    SELECT vehicle_id FROM trust_due WHERE vehicle_id > %(after)s
    ORDER BY vehicle_id LIMIT %(vehicles_max)s
    FOR UPDATE SKIP LOCKED
),
begun AS (
    INSERT INTO vehicle_standing
        (vehicle_id, state, folded_sequence, resets, life_ends, reason, appeal, appeal_answer)
    SELECT due.vehicle_id, 'normal', 0, '{}', '{}', '', '', ''
    FROM due JOIN vehicle v ON v.id = due.vehicle_id
    ORDER BY due.vehicle_id
    ON CONFLICT (vehicle_id) DO NOTHING
)
DELETE FROM trust_due t USING due WHERE t.vehicle_id = due.vehicle_id
RETURNING t.vehicle_id
