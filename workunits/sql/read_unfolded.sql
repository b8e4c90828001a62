-- Commitments behind what was folded, in sequence, each with what became of it: `valid`, `ended` without a result, or
-- still `open`: no verdict, an open audit, or a failed one whose consequences are still to come.
-- One that is to be taken back has ended, whatever its replica still says; so has one whose replica was leased anew or
-- is gone with its batch.
-- Caller: store.trust_weights.read_unfolded, holding the vehicles' standing. Locks: none.
-- Index: vehicle_commit_in_sequence (one range a vehicle), replica_one_per_owner, revocation_once and audit_by_vehicle
-- (one probe each a commitment). Rows: at most `commits_max` a vehicle.
SELECT c.vehicle_id, c.sequence, c.level, c.role, c.model_id, c.comparison_class, c.weight,
       extract(epoch FROM c.committed_at)::double precision,
       CASE
           WHEN EXISTS (
               SELECT FROM revocation x
               WHERE x.batch_id = c.batch_id AND x.unit_number = c.unit_number AND x.owner_id = c.owner_id
                 AND x.vehicle_id = c.vehicle_id AND x.sequence = c.sequence
               OFFSET 0) THEN 'ended'
           WHEN EXISTS (
               SELECT FROM audit a
               WHERE a.vehicle_id = c.vehicle_id AND a.level = c.level AND a.sequence = c.sequence
                 AND (a.state = 'open' OR a.state = 'failed' AND a.settled_at IS NULL)
               OFFSET 0) THEN 'open'
           WHEN r.state IN ('COMMITTED', 'REPORTED') THEN 'open'
           WHEN r.state = 'VALID' THEN 'valid'
           ELSE 'ended'
       END
FROM unnest(%(vehicles)s::bigint[], %(folded)s::bigint[]) AS f (vehicle_id, folded_sequence)
CROSS JOIN LATERAL (
    SELECT * FROM vehicle_commit v
    WHERE v.vehicle_id = f.vehicle_id AND v.sequence > f.folded_sequence
    ORDER BY v.sequence LIMIT %(commits_max)s
) AS c
LEFT JOIN LATERAL (
    SELECT state FROM replica
    WHERE batch_id = c.batch_id AND unit_number = c.unit_number AND owner_id = c.owner_id
      AND vehicle_id = c.vehicle_id AND sequence = c.sequence
    OFFSET 0
) AS r ON true
ORDER BY c.vehicle_id, c.sequence
