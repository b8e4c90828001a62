-- Whether one of a car's live leases names a blob, as its batch's model or as its unit's shard.
-- Caller: selectors.leased_blobs, for each blob request. Index: replica_one_per_owner, unit_pkey, shard_numbered_once.
SELECT 1
FROM unnest(%(batches)s::bigint[], %(units)s::integer[]) AS opened (batch_id, unit_number)
JOIN replica r ON r.batch_id = opened.batch_id AND r.unit_number = opened.unit_number AND r.owner_id = %(owner_id)s
JOIN unit u ON u.batch_id = r.batch_id AND u.number = r.unit_number
JOIN batch b ON b.id = r.batch_id
JOIN model m ON m.id = b.model_id
LEFT JOIN shard s ON s.batch_id = u.batch_id AND s.number = u.shard_number AND s.blob_sha256 = %(sha256)s
WHERE r.batch_id = ANY (%(batches)s::bigint[]) AND u.batch_id = ANY (%(batches)s::bigint[])
  AND r.vehicle_id = %(vehicle_id)s AND r.state IN ('LEASED', 'COMMITTED')
  AND (m.blob_id = %(sha256)s OR s.number IS NOT NULL)
LIMIT 1
