-- One replica, as an upload meets it.
-- Caller: store.uploads.find_replica, for each upload request. Index: replica_one_per_owner.
SELECT vehicle_id, attempt, state, rows, commitment, output_bytes
FROM replica
WHERE batch_id = %(batch_id)s AND unit_number = %(unit_number)s AND owner_id = %(owner_id)s
