-- Mark the units whose rows are in the result files.
-- Caller: store.results.finish_assembly, whose transaction holds the batch's progress row, so that no result changes.
-- Locks: the units. Index: unit_pkey (the batch's range).
-- Rows: one, how many units have a result, and the numbers of their outputs put together whatever their order.
WITH marked AS (
    UPDATE unit SET state = 'ASSEMBLED' WHERE batch_id = %(batch_id)s AND state = 'VALIDATED'
)
SELECT count(*), coalesce(bit_xor(hashint8extended(number::bigint << 32 | canonical_owner_id, 0)), 0)
FROM unit
WHERE batch_id = %(batch_id)s AND state IN ('VALIDATED', 'ASSEMBLED')
