-- What some vehicles have been believed, as it was when it was last folded.
-- Caller: store.trust_weights.read_trust. Locks: none. Index: vehicle_trust_one_per_scope. Rows: a few a vehicle.
SELECT vehicle_id, level, model_id, comparison_class, weight_microcredits,
       extract(epoch FROM weighed_at)::double precision, extract(epoch FROM last_commit_at)::double precision,
       final_sequence
FROM vehicle_trust WHERE vehicle_id = ANY (%(vehicles)s::bigint[])
