-- The outputs of a unit by some owners, with whatever of them lies in the row.
-- Caller: selectors.disagreements. Locks: none. Index: replica_one_per_owner. Rows: at most three.
SELECT owner_id, state, comparison_class, seconds, output, output_blob
FROM replica
WHERE batch_id = %(batch_id)s AND unit_number = %(unit_number)s AND owner_id = ANY (%(owners)s::integer[])
