-- One replica, and how much of its output has been uploaded.
-- Caller: store.uploads.find_replica, for each upload request. Index: replica_one_per_owner, output_upload_pkey.
SELECT r.vehicle_id, r.attempt, r.state, r.rows, r.commitment, r.output_bytes, coalesce(u.received_bytes, 0)
FROM replica r
LEFT JOIN output_upload u ON (u.batch_id, u.unit_number, u.owner_id) = (r.batch_id, r.unit_number, r.owner_id)
WHERE r.batch_id = %(batch_id)s AND r.unit_number = %(unit_number)s AND r.owner_id = %(owner_id)s
