-- Note that a part has been received, if the upload still stood at `expected` bytes. Changes one row, or none.
-- Caller: store.uploads.advance_upload. Index: output_upload_pkey.
INSERT INTO output_upload AS u (batch_id, unit_number, owner_id, received_bytes)
SELECT %(batch_id)s, %(unit_number)s, %(owner_id)s, %(received)s
WHERE %(expected)s = 0
   OR EXISTS (SELECT FROM output_upload
              WHERE (batch_id, unit_number, owner_id) = (%(batch_id)s, %(unit_number)s, %(owner_id)s))
ON CONFLICT (batch_id, unit_number, owner_id) DO UPDATE SET received_bytes = EXCLUDED.received_bytes
WHERE u.received_bytes = %(expected)s
