-- All replicas of some units of one batch.
-- Caller: store.verdicts.take_reviews, with the units locked. Locks: none. Index: replica_one_per_owner.
SELECT unit_number, owner_id, vehicle_id, state, attempt, output_digest, reason
FROM replica
WHERE batch_id = %(batch_id)s AND unit_number = ANY (%(units)s::integer[])
ORDER BY unit_number, owner_id
