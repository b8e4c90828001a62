-- The outputs of a unit, with whatever of them lies in the row: the judged owner's, an anchor's, and other ones.
-- Caller: selectors.disagreements. Locks: none. Index: replica_one_per_owner. Rows: at most `sides_max`.
SELECT owner_id, vehicle_id, role, state, comparison_class, seconds, output, output_blob
FROM replica
WHERE batch_id = %(batch_id)s AND unit_number = %(unit_number)s
  AND (owner_id = %(judged)s OR state IN ('COMMITTED', 'REPORTED', 'VALID', 'INVALID', 'INCONCLUSIVE', 'REVOKED'))
ORDER BY owner_id <> %(judged)s, owner_id <> 0, owner_id
LIMIT %(sides_max)s
