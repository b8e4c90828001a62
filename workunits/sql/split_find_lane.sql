-- Return the hash partition (0 to 15) that holds a batch's units, replicas and reviews.
-- Caller: store.shards.publish_split. Locks: none. Rows: one.
SELECT lane
FROM generate_series(0, 15) AS lane
WHERE satisfies_hash_partition('unit'::regclass, 16, lane, %(batch_id)s::bigint)
