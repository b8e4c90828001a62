-- End the leases whose deadline has passed, of cars that have such leases; whoever vanished is found here.
-- Caller: store.recovery.expire_leases. Locks: presence rows (SKIP LOCKED: a car that is syncing right now is alive),
-- then their replicas, then trust_due. Index: vehicle_presence_expiry, replica_one_per_owner. Rows: one, the
-- replicas expired.
WITH late AS MATERIALIZED (
    SELECT p.vehicle_id, v.owner_id, p.open_batch_ids, p.open_unit_numbers
    FROM vehicle_presence p
    JOIN vehicle v ON v.id = p.vehicle_id
    WHERE p.lease_expires_at <= %(now)s
    ORDER BY p.lease_expires_at
    LIMIT %(vehicles_max)s
    FOR UPDATE OF p SKIP LOCKED
),
held AS MATERIALIZED (
    SELECT late.vehicle_id, late.owner_id, opened.batch_id, opened.unit_number
    FROM late, LATERAL unnest(late.open_batch_ids, late.open_unit_numbers) AS opened (batch_id, unit_number)
),
expired AS (
    UPDATE replica r SET state = 'EXPIRED', ended_at = %(now)s, reason = 'deadline passed'
    FROM held
    WHERE r.batch_id = held.batch_id AND r.unit_number = held.unit_number AND r.owner_id = held.owner_id
      AND r.vehicle_id = held.vehicle_id AND r.state IN ('LEASED', 'COMMITTED') AND r.deadline_at <= %(now)s
    RETURNING r.batch_id, r.unit_number, r.owner_id, r.vehicle_id, r.sequence, r.role
),
noted AS (
    INSERT INTO unit_event (batch_id, unit_number, owner_id, event, detail, at)
    SELECT batch_id, unit_number, owner_id, 'expired', 'deadline passed', %(now)s FROM expired
),
queued AS (
    INSERT INTO review (batch_id, unit_number) SELECT batch_id, unit_number FROM expired
),
due AS (
    -- A commitment whose bytes never came held up what its car is believed; it does no more.
    INSERT INTO trust_due (vehicle_id) SELECT DISTINCT vehicle_id FROM expired WHERE sequence IS NOT NULL
    ORDER BY vehicle_id
    ON CONFLICT (vehicle_id) DO NOTHING
),
remaining AS (
    SELECT late.vehicle_id, min(r.deadline_at) AS deadline_at
    FROM late
    LEFT JOIN held ON held.vehicle_id = late.vehicle_id
    LEFT JOIN replica r ON r.batch_id = held.batch_id AND r.unit_number = held.unit_number
        AND r.owner_id = held.owner_id AND r.state IN ('LEASED', 'COMMITTED') AND r.deadline_at > %(now)s
    GROUP BY late.vehicle_id
),
beat AS (
    UPDATE vehicle_presence p
    SET lease_expires_at = date_bin('10 seconds', remaining.deadline_at, 'epoch') + interval '10 seconds',
        -- Who let an audit lapse gets none for a while, as who hands one back.
        audits_from = CASE WHEN EXISTS (SELECT FROM expired e WHERE e.vehicle_id = p.vehicle_id AND e.role = 1)
                           THEN %(audits_from)s::timestamptz ELSE p.audits_from END
    FROM remaining WHERE p.vehicle_id = remaining.vehicle_id
)
SELECT count(*) FROM expired
