-- The bytes of reported outputs of one unit, or where they lie.
-- Caller: store.verdicts.read_outputs, only where digests differ. Index: replica_one_per_owner.
SELECT owner_id, output, output_blob
FROM replica
WHERE batch_id = %(batch_id)s AND unit_number = %(unit_number)s AND output_digest IS NOT NULL
