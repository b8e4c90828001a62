-- For each vehicle and level with a result that has been provisional for too long: its latest provisional result that
-- can be audited, unless an audit of that level is open already and will settle them, or one of it or a later one has
-- passed: that settles them once earlier ones of other levels are. Left out are vehicles whose verdicts no fold has seen.
-- Without an anchor only results of batches that still lease: elsewhere nobody could ever run them, nor where an anchor
-- could not run the batch's last unit, and an audit that stays open holds up all others, or ends with its result.
-- Looked at are `results_max` of them, others at each `turn`: many may have nothing that anybody can audit, and must not
-- keep the rest waiting. `has_unfolded`: the vehicle has commitments that no fold has come to.
-- Caller: store.trust_weights.list_held_results, in the sweep. Locks: none. Index: vehicle_trust_on_hold, trust_due_pkey,
-- vehicle_commit_in_sequence (backwards), replica_one_per_owner, audit_by_vehicle, anchor_run_failed. Rows: one a vehicle
-- and level; NULLs where there is none.
WITH unrunnable AS MATERIALIZED (
    SELECT f.batch_id
    FROM (SELECT batch_id, max(done_at) AS failed_at FROM anchor_run
          WHERE state = 'failed' AND %(has_anchor)s GROUP BY batch_id) AS f
    WHERE NOT EXISTS (SELECT FROM anchor_run d
                      WHERE d.batch_id = f.batch_id AND d.state = 'done' AND d.done_at > f.failed_at)
),
held AS MATERIALIZED (
    SELECT t.vehicle_id, t.level, t.final_sequence, s.folded_sequence
    FROM vehicle_trust t
    JOIN vehicle_standing s ON s.vehicle_id = t.vehicle_id
    WHERE t.provisional_since <= %(held_before)s
      AND NOT EXISTS (SELECT FROM audit a WHERE a.vehicle_id = t.vehicle_id AND a.level = t.level AND a.state = 'open')
      AND NOT EXISTS (SELECT FROM trust_due d WHERE d.vehicle_id = t.vehicle_id)
    ORDER BY hashint8extended(t.vehicle_id, %(turn)s), t.level
    LIMIT %(results_max)s
)
SELECT t.vehicle_id,
       EXISTS (SELECT FROM vehicle_commit c WHERE c.vehicle_id = t.vehicle_id AND c.sequence > t.folded_sequence)
           AS has_unfolded,
       latest.*
FROM held t
LEFT JOIN LATERAL (
    SELECT c.batch_id, c.unit_number, c.owner_id, c.vehicle_id, c.sequence, c.level, c.weight, c.comparison_class,
           b.status IN ('in_progress', 'finalizing')
               OR b.status = 'completed' AND b.finality = 'provisional' AS is_leasing
    FROM vehicle_commit c
    JOIN batch b ON b.id = c.batch_id
    CROSS JOIN LATERAL (
        SELECT FROM replica r
        WHERE r.batch_id = c.batch_id AND r.unit_number = c.unit_number AND r.owner_id = c.owner_id
          AND r.vehicle_id = c.vehicle_id AND r.sequence = c.sequence AND r.state = 'VALID'
        OFFSET 0
    ) AS r
    WHERE c.vehicle_id = t.vehicle_id AND c.level = t.level AND c.role = 0
      AND c.sequence > t.final_sequence AND c.sequence <= t.folded_sequence
      AND (b.status IN ('in_progress', 'finalizing') OR b.status = 'completed' AND b.finality = 'provisional'
           OR %(has_anchor)s AND b.id NOT IN (SELECT batch_id FROM unrunnable))
      AND NOT EXISTS (SELECT FROM audit a
                      WHERE a.vehicle_id = t.vehicle_id AND a.level = t.level AND a.sequence >= c.sequence
                        AND a.state = 'passed')
      AND NOT EXISTS (SELECT FROM revocation x
                      WHERE x.batch_id = c.batch_id AND x.unit_number = c.unit_number AND x.owner_id = c.owner_id
                        AND x.vehicle_id = c.vehicle_id AND x.sequence = c.sequence)
    ORDER BY c.sequence DESC LIMIT 1
) AS latest ON true
