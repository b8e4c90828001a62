-- Receive a batch's units, in PostgreSQL's binary COPY format; `store.unit_spool` writes the columns in this order.
-- Caller: store.shards.publish_split, in the split's one transaction, which holds the batch's row.
-- Locks: none that anybody waits for; the rows are nobody's until the batch is in progress.
-- Index: every index of the batch's partition of `unit` grows. Rows: one for each unit.
COPY unit (batch_id, number, shard_number, row_start, rows, byte_start, byte_end, input_digest, reward_microcredits,
           needed, place)
FROM STDIN (FORMAT binary)
