-- All replicas of some units of one batch, as the rules see them. What a re-run has sent is read with it; a primary's
-- sketch says nothing that its bytes do not.
-- Caller: store.verdicts.take_reviews, with the units locked. Locks: none. Index: replica_one_per_owner.
SELECT unit_number, owner_id, state, attempt, output_digest, reason, vehicle_id, role, weight, sequence, drawn, young,
       comparison_class, bytes_wanted, CASE WHEN role <> 0 THEN commitment END, CASE WHEN role <> 0 THEN sketch END
FROM replica
WHERE batch_id = %(batch_id)s AND unit_number = ANY (%(units)s::integer[])
ORDER BY unit_number, owner_id
