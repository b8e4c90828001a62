-- Write a fold: weights, up to where it came, what is final from now on, and forget commitments without a result: those
-- that ended without one, and those folded before that were taken back since. An identity that was thrown away would
-- otherwise have something provisional for ever.
-- A vehicle with a result that is final and not yet settled as such stays due until its batch has been told.
-- Caller: store.trust_weights.write_fold, holding the vehicles' standing. Locks: commitments that were taken back (SKIP
-- LOCKED: what is being made final is forgotten there), trust_due by vehicle, in order.
-- Index: vehicle_trust_one_per_scope, vehicle_standing_pkey, vehicle_commit_in_sequence, revocation_by_vehicle (empty for
-- nearly all). Rows changed: few a vehicle.
WITH told AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(weights)s::jsonb) AS t (
        vehicle_id bigint, level smallint, model_id bigint, comparison_class text, weight bigint,
        weighed_at double precision, last_commit_at double precision, final_sequence bigint)
),
gone AS MATERIALIZED (
    SELECT vehicle_id, sequence
    FROM unnest(%(ended_vehicles)s::bigint[], %(ended_sequences)s::bigint[]) AS e (vehicle_id, sequence)
    UNION
    SELECT vehicle_id, sequence FROM (
        SELECT c.vehicle_id, c.sequence
        FROM unnest(%(folded_vehicles)s::bigint[], %(folded_upto)s::bigint[]) AS f (vehicle_id, upto)
        CROSS JOIN LATERAL (
            SELECT min(v.sequence) AS sequence FROM vehicle_commit v WHERE v.vehicle_id = f.vehicle_id
        ) AS first
        JOIN revocation x ON x.vehicle_id = f.vehicle_id AND x.sequence >= first.sequence AND x.sequence <= f.upto
        JOIN vehicle_commit c ON c.vehicle_id = x.vehicle_id AND c.sequence = x.sequence
        FOR UPDATE OF c SKIP LOCKED
    ) AS taken_back
),
weighed AS (
    INSERT INTO vehicle_trust AS held
        (vehicle_id, level, model_id, comparison_class, weight_microcredits, weighed_at, last_commit_at, final_sequence,
         provisional_since)
    SELECT t.vehicle_id, t.level, t.model_id, t.comparison_class, t.weight, to_timestamp(t.weighed_at),
           to_timestamp(t.last_commit_at), t.final_sequence, oldest.committed_at
    FROM told t
    LEFT JOIN LATERAL (
        SELECT c.committed_at FROM vehicle_commit c
        WHERE t.model_id = 0 AND t.comparison_class = ''
          AND c.vehicle_id = t.vehicle_id AND c.sequence > t.final_sequence AND c.level = t.level
          AND NOT EXISTS (SELECT FROM gone g WHERE g.vehicle_id = c.vehicle_id AND g.sequence = c.sequence)
        ORDER BY c.sequence LIMIT 1
    ) AS oldest ON true
    ORDER BY t.vehicle_id, t.level, t.model_id, t.comparison_class
    ON CONFLICT (vehicle_id, level, model_id, comparison_class) DO UPDATE
    SET weight_microcredits = EXCLUDED.weight_microcredits, weighed_at = EXCLUDED.weighed_at,
        last_commit_at = EXCLUDED.last_commit_at, provisional_since = EXCLUDED.provisional_since,
        final_sequence = greatest(held.final_sequence, EXCLUDED.final_sequence)
),
folded AS (
    UPDATE vehicle_standing s
    SET folded_sequence = greatest(s.folded_sequence, f.upto),
        -- A reset is forgiven in time.
        state = CASE WHEN s.state = 'watched' AND recent.resets < %(resets_until_watched)s THEN 'normal' ELSE s.state END
    FROM unnest(%(folded_vehicles)s::bigint[], %(folded_upto)s::bigint[]) AS f (vehicle_id, upto)
    CROSS JOIN LATERAL (
        SELECT count(*) AS resets FROM vehicle_standing w, unnest(w.resets) AS r (at)
        WHERE w.vehicle_id = f.vehicle_id AND r.at > %(resets_since)s
    ) AS recent
    WHERE s.vehicle_id = f.vehicle_id
),
forgotten AS (
    DELETE FROM vehicle_commit c USING gone g WHERE c.vehicle_id = g.vehicle_id AND c.sequence = g.sequence
)
INSERT INTO trust_due (vehicle_id)
SELECT vehicle_id FROM unnest(%(due_vehicles)s::bigint[]) AS d (vehicle_id)
UNION
SELECT t.vehicle_id FROM told t
WHERE t.model_id = 0 AND t.comparison_class = '' AND EXISTS (
    SELECT FROM vehicle_commit c
    WHERE c.vehicle_id = t.vehicle_id AND c.sequence <= t.final_sequence AND c.level = t.level)
ORDER BY vehicle_id
ON CONFLICT (vehicle_id) DO NOTHING
