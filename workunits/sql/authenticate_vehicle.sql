-- The car behind a key id, where it stands with us, and what its results have been believed so far.
-- Caller: the function find_vehicle, first statement of every vehicle request. Locks: none.
-- Index: vehicle_public_id_key, vehicle_presence_pkey, vehicle_standing_pkey, owner_cluster's two, vehicle_trust's and
-- audit_open_by_vehicle (a few rows each). Rows: 0 or 1.
SELECT v.id, v.owner_id, v.public_key, v.status,
       p.counter, p.open_batch_ids, p.open_unit_numbers, p.cursor_batch_id, p.cursor_unit_number, p.misses,
       v.previous_public_key, v.clone_suspected_at, v.rules, p.instance, p.boot_marks, p.boot_changed_at, p.walls,
       p.clock_skew_seconds, p.trust_life, p.last_seen_at, p.audits_from, coalesce(s.state, 'normal'),
       (SELECT array_agg(other.owner_id ORDER BY other.owner_id)
        FROM owner_cluster own JOIN owner_cluster other ON other.cluster_id = own.cluster_id
        WHERE own.owner_id = v.owner_id),
       (SELECT json_agg(json_build_array(t.level, t.model_id, t.comparison_class, t.weight_microcredits,
                                         extract(epoch FROM t.weighed_at), extract(epoch FROM t.last_commit_at)))
        FROM vehicle_trust t WHERE t.vehicle_id = v.id),
       (SELECT json_object_agg(waiting.level, waiting.weight)
        FROM (SELECT a.level, sum(a.weight_microcredits) AS weight
              FROM audit a WHERE a.vehicle_id = v.id AND a.state = 'open' GROUP BY a.level) AS waiting)
FROM vehicle v
JOIN vehicle_presence p ON p.vehicle_id = v.id
LEFT JOIN vehicle_standing s ON s.vehicle_id = v.id
WHERE v.public_id = %(public_id)s
