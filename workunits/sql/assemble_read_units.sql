-- One page of a batch's units in input order, each with its canonical output: inline bytes, or the blob that has them;
-- and a number that tells which output that is (assemble_mark_units).
-- Caller: store.results.iter_unit_results. Locks: none.
-- Index: unit_pkey (one range), replica_one_per_owner (one probe a unit: LATERAL with OFFSET 0 keeps the planner from
-- reading all replicas of the batch for a hash join). Rows: up to `units_max`.
SELECT u.number, u.row_start, u.rows, u.state, r.output, r.output_blob,
       hashint8extended(u.number::bigint << 32 | u.canonical_owner_id, 0)
FROM (
    SELECT number, row_start, rows, state, canonical_owner_id
    FROM unit
    WHERE batch_id = %(batch_id)s AND number > %(after)s
    ORDER BY number LIMIT %(units_max)s
) u
LEFT JOIN LATERAL (
    SELECT output, output_blob
    FROM replica
    WHERE batch_id = %(batch_id)s AND unit_number = u.number AND owner_id = u.canonical_owner_id
    OFFSET 0
) r ON true
ORDER BY u.number
