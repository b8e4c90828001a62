-- Have some vehicles' trust folded again.
-- Caller: store.trust_weights.put_due. Locks: trust_due by vehicle, in order. Index: trust_due_pkey.
INSERT INTO trust_due (vehicle_id)
SELECT vehicle_id FROM unnest(%(vehicles)s::bigint[]) AS v (vehicle_id) ORDER BY vehicle_id
ON CONFLICT (vehicle_id) DO NOTHING
