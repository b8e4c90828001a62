-- What audits that agreed show of each output's distance in each comparison class, since its tolerance was last set:
-- the third largest among clusters of who was audited by an operator's device, and among cars the third largest once by
-- who audited and once by who was audited.
-- Caller: store.tolerances.learn_tolerances, once a day. Locks: none. Index: none, it reads the audits of some weeks.
-- Rows: one for each output with a tolerance in each class that had audits; none for 8-bit outputs, whose tolerances
-- within and across classes are kept apart.
-- An audit's distance is that of its worst output, in the largest tolerance of the two classes: for every output it is
-- no less than what was seen. What agreed by digest was equal, and counts as nothing.
WITH base AS (
    SELECT t.model_id, t.output, t.tolerance, t.calibrated_at
    FROM model_tolerance t
    WHERE t.comparison_class = ''
      AND NOT EXISTS (SELECT FROM model_tolerance s
                      WHERE s.model_id = t.model_id AND s.output = t.output AND s.comparison_class = '*')
), agreed AS (
    SELECT b.model_id, a.primary_class, a.auditor_class, a.resolved_at,
           CASE a.stage WHEN 'digest' THEN 0 ELSE a.distance END AS distance,
           a.auditor_owner_id = 0 AS by_operator,
           coalesce(p.cluster_id, a.owner_id) AS primary_cluster,
           coalesce(c.cluster_id, a.auditor_owner_id) AS auditor_cluster
    FROM audit a
    JOIN batch b ON b.id = a.batch_id
    LEFT JOIN owner_cluster p ON p.owner_id = a.owner_id
    LEFT JOIN owner_cluster c ON c.owner_id = a.auditor_owner_id
    WHERE a.state = 'passed' AND a.resolved_at > %(since)s AND a.reason <> 'auditing'
      AND a.auditor_owner_id IS NOT NULL AND a.primary_class <> '' AND a.auditor_class <> ''
      AND (a.distance IS NOT NULL OR a.stage = 'digest')
), seen AS (
    SELECT base.model_id, base.output, class.name AS comparison_class, agreed.by_operator, agreed.primary_cluster,
           agreed.auditor_cluster,
           agreed.distance * greatest(
               CASE WHEN agreed.primary_class <> agreed.auditor_class THEN base.tolerance ELSE 0 END,
               coalesce(one.tolerance, base.tolerance), coalesce(other.tolerance, base.tolerance)) AS distance
    FROM base
    JOIN agreed ON agreed.model_id = base.model_id
    LEFT JOIN model_tolerance one ON one.model_id = base.model_id AND one.output = base.output
                                 AND one.comparison_class = agreed.primary_class
    LEFT JOIN model_tolerance other ON other.model_id = base.model_id AND other.output = base.output
                                   AND other.comparison_class = agreed.auditor_class
    CROSS JOIN LATERAL (SELECT agreed.primary_class AS name UNION SELECT agreed.auditor_class) AS class
    -- Distances from before a change are in another unit.
    WHERE agreed.resolved_at > greatest(base.calibrated_at, coalesce(one.calibrated_at, base.calibrated_at),
                                        coalesce(other.calibrated_at, base.calibrated_at))
), by_operators AS (
    SELECT model_id, output, comparison_class, primary_cluster, max(distance) AS distance,
           row_number() OVER (PARTITION BY model_id, output, comparison_class ORDER BY max(distance) DESC) AS place
    FROM seen WHERE by_operator GROUP BY model_id, output, comparison_class, primary_cluster
), auditors AS (
    SELECT model_id, output, comparison_class, auditor_cluster, max(distance) AS distance,
           row_number() OVER (PARTITION BY model_id, output, comparison_class ORDER BY max(distance) DESC) AS place
    FROM seen WHERE NOT by_operator GROUP BY model_id, output, comparison_class, auditor_cluster
), primaries AS (
    SELECT model_id, output, comparison_class, primary_cluster, max(distance) AS distance,
           row_number() OVER (PARTITION BY model_id, output, comparison_class ORDER BY max(distance) DESC) AS place
    FROM seen WHERE NOT by_operator GROUP BY model_id, output, comparison_class, primary_cluster
)
SELECT seen.model_id, seen.output, seen.comparison_class,
       (SELECT distance FROM by_operators x WHERE x.model_id = seen.model_id AND x.output = seen.output
            AND x.comparison_class = seen.comparison_class AND x.place = %(clusters_min)s),
       (SELECT distance FROM auditors x WHERE x.model_id = seen.model_id AND x.output = seen.output
            AND x.comparison_class = seen.comparison_class AND x.place = %(clusters_min)s),
       (SELECT distance FROM primaries x WHERE x.model_id = seen.model_id AND x.output = seen.output
            AND x.comparison_class = seen.comparison_class AND x.place = %(clusters_min)s),
       count(*)
FROM seen
GROUP BY seen.model_id, seen.output, seen.comparison_class
ORDER BY seen.model_id, seen.output, seen.comparison_class
