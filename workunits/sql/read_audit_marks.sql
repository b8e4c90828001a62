-- Audits of some vehicles that say what is final and what a loss takes back: those of commitments that are remembered,
-- and open ones. What came before the first remembered commitment is final or gone.
-- Those of results that are to be taken back say nothing, unless they were lost.
-- Caller: store.trust_weights.read_marks. Locks: none.
-- Index: vehicle_commit_in_sequence, audit_by_vehicle, audit_open_by_vehicle, revocation_once. Rows: few a vehicle.
SELECT DISTINCT a.vehicle_id, a.level, a.sequence, a.state
FROM unnest(%(vehicles)s::bigint[]) AS f (vehicle_id)
CROSS JOIN LATERAL (
    SELECT coalesce((SELECT min(c.sequence) FROM vehicle_commit c WHERE c.vehicle_id = f.vehicle_id), 0) AS sequence
) AS first
CROSS JOIN LATERAL (
    -- A probe for each vehicle: with OFFSET 0 the planner cannot read all audits for a join instead.
    SELECT * FROM audit
    WHERE vehicle_id = f.vehicle_id
      AND (sequence >= first.sequence AND state IN ('passed', 'failed') OR state = 'open')
    OFFSET 0
) AS a
WHERE a.state = 'failed' OR NOT EXISTS (
    SELECT FROM revocation x
    WHERE x.batch_id = a.batch_id AND x.unit_number = a.unit_number AND x.owner_id = a.owner_id
      AND x.vehicle_id = a.vehicle_id AND x.sequence = a.sequence)
ORDER BY a.vehicle_id, a.sequence
