-- COMMITTED -> REPORTED for an output that lies in the blob store, and its unit queued for review.
-- Caller: store.uploads.report_uploaded_output. Index: replica_one_per_owner. Changes one review row, or none where the
-- lease ended meanwhile.
WITH reported AS (
    UPDATE replica SET state = 'REPORTED', reported_at = %(now)s, output_digest = %(digest)s, output_blob = %(blob)s
    WHERE batch_id = %(batch_id)s AND unit_number = %(unit_number)s AND owner_id = %(owner_id)s
      AND vehicle_id = %(vehicle_id)s AND attempt = %(attempt)s AND state = 'COMMITTED'
    RETURNING batch_id, unit_number
)
INSERT INTO review (batch_id, unit_number) SELECT batch_id, unit_number FROM reported
