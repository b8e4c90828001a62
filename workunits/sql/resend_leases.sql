-- The leases that a car does not know it holds: the answer that carried them was lost.
-- Caller: store.leases.resend_leases, only where there are any. Locks: none. Index: replica_one_per_owner, unit_pkey.
SELECT r.batch_id, r.unit_number, r.attempt, u.rows, s.blob_sha256, u.byte_start, u.byte_end, u.input_digest,
       r.deadline_at
FROM unnest(%(batches)s::bigint[], %(units)s::integer[]) AS lost (batch_id, unit_number)
JOIN replica r ON r.batch_id = lost.batch_id AND r.unit_number = lost.unit_number AND r.owner_id = %(owner_id)s
JOIN unit u ON u.batch_id = r.batch_id AND u.number = r.unit_number
JOIN shard s ON s.batch_id = u.batch_id AND s.number = u.shard_number
WHERE r.batch_id = ANY (%(batches)s::bigint[]) AND u.batch_id = ANY (%(batches)s::bigint[])
  AND r.vehicle_id = %(vehicle_id)s AND r.state = 'LEASED'
