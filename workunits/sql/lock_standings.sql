-- Where some vehicles stand, locked; one that another worker holds is left out.
-- Caller: store.trust_weights.claim_due, after claim_trust_due, so that it sees the rows made there.
-- Locks: vehicle_standing by vehicle, SKIP LOCKED. Index: vehicle_standing_pkey. Rows: at most one a vehicle.
SELECT vehicle_id, folded_sequence, life_ends FROM vehicle_standing
WHERE vehicle_id = ANY (%(vehicles)s::bigint[])
ORDER BY vehicle_id
FOR UPDATE SKIP LOCKED
