-- Batches that have results of some vehicles which are final and were not settled as such yet.
-- Caller: store.trust_weights.list_final_batches. Locks: none. Index: vehicle_trust_one_per_scope,
-- vehicle_commit_in_sequence: settled ones are gone. Rows: one a batch.
SELECT DISTINCT c.batch_id
FROM vehicle_trust t
JOIN vehicle_commit c ON c.vehicle_id = t.vehicle_id AND c.sequence <= t.final_sequence AND c.level = t.level
WHERE t.vehicle_id = ANY (%(vehicles)s::bigint[]) AND t.model_id = 0 AND t.comparison_class = ''
ORDER BY c.batch_id
