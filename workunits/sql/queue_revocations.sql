-- Queue what a vehicle's failed audits take back: its commitments in the spans, judged or not, and the lost ones.
-- One that has no verdict yet is queued as well: it must not be believed afterwards.
-- Caller: store.standings.queue_losses, holding the vehicle's presence and standing. Locks: revocation's new rows.
-- Index: vehicle_commit_in_sequence, replica_one_per_owner, revocation_once. Rows changed: one a result queued.
-- A unit that its owner was given again has a row of its former commitment: the later one takes its place.
WITH lost AS (
    SELECT c.batch_id, c.unit_number, c.owner_id, c.sequence, min(t.audit_id) AS audit_id
    FROM unnest(%(audits)s::bigint[], %(levels)s::smallint[], %(afters)s::bigint[], %(uptos)s::bigint[])
         AS t (audit_id, level, after, upto)
    JOIN vehicle_commit c ON c.vehicle_id = %(vehicle_id)s AND c.sequence > t.after AND c.sequence <= t.upto
        AND c.level = t.level
    GROUP BY c.batch_id, c.unit_number, c.owner_id, c.sequence
    UNION
    SELECT a.batch_id, a.unit_number, a.owner_id, a.sequence, a.id
    FROM audit a
    WHERE a.id = ANY (%(failures)s::bigint[]) AND NOT EXISTS (
        SELECT FROM vehicle_commit c
        JOIN unnest(%(levels)s::smallint[], %(afters)s::bigint[], %(uptos)s::bigint[]) AS t (level, after, upto)
            ON c.level = t.level AND c.sequence > t.after AND c.sequence <= t.upto
        WHERE c.vehicle_id = %(vehicle_id)s AND c.sequence = a.sequence)
)
INSERT INTO revocation AS held (batch_id, unit_number, owner_id, vehicle_id, sequence, audit_id, created_at)
SELECT DISTINCT ON (l.batch_id, l.unit_number, l.owner_id)
       l.batch_id, l.unit_number, l.owner_id, %(vehicle_id)s, l.sequence, l.audit_id, %(now)s
FROM lost l
JOIN replica r ON r.batch_id = l.batch_id AND r.unit_number = l.unit_number AND r.owner_id = l.owner_id
    AND r.vehicle_id = %(vehicle_id)s AND r.sequence = l.sequence
WHERE r.state IN ('COMMITTED', 'REPORTED', 'VALID')
ORDER BY l.batch_id, l.unit_number, l.owner_id, l.audit_id
ON CONFLICT (batch_id, unit_number, owner_id) DO UPDATE
SET vehicle_id = EXCLUDED.vehicle_id, sequence = EXCLUDED.sequence, audit_id = EXCLUDED.audit_id,
    created_at = EXCLUDED.created_at, done_at = NULL
WHERE (held.vehicle_id, held.sequence) <> (EXCLUDED.vehicle_id, EXCLUDED.sequence)
