-- The edges that networks give, new or seen again: owners on one network who registered at nearly the same time, or
-- whose cars carry one installation's mark.
-- Caller: store.clusters.join_networks, every few minutes, under an advisory lock. Locks: the edges it writes.
-- Index: none; it reads all networks of the last 30 days. Rows changed: at most two for each network and owner.
-- Everybody is joined to the one before him only, in the order of registration or of owners: the components are those
-- of all pairs, for whoever stands between two who are close enough is close to both, and a crowded network gives as
-- many edges as owners, not their square.
-- The window is the domain's `registration_window`.
WITH neighbour AS (
    SELECT n.owner_id, n.last_seen_at, o.created_at,
           lag(n.owner_id) OVER by_time AS before_id, lag(n.last_seen_at) OVER by_time AS before_seen_at,
           o.created_at - lag(o.created_at) OVER by_time AS gap,
           count(*) OVER (PARTITION BY n.prefix_hash) AS owners
    FROM owner_network n JOIN owner o ON o.id = n.owner_id
    WINDOW by_time AS (PARTITION BY n.prefix_hash ORDER BY o.created_at, o.id)
),
marked AS (
    SELECT DISTINCT n.prefix_hash, p.instance, n.owner_id, n.last_seen_at
    FROM owner_network n
    JOIN vehicle v ON v.owner_id = n.owner_id
    JOIN vehicle_presence p ON p.vehicle_id = v.id
    WHERE p.instance <> ''
),
twin AS (
    SELECT owner_id, last_seen_at,
           lag(owner_id) OVER by_owner AS before_id, lag(last_seen_at) OVER by_owner AS before_seen_at
    FROM marked
    WINDOW by_owner AS (PARTITION BY prefix_hash, instance ORDER BY owner_id)
),
found AS (
    SELECT least(owner_id, before_id) AS first_id, greatest(owner_id, before_id) AS second_id, 'network_and_time' AS kind,
           'registered within ' || ceil(extract(epoch FROM min(gap)) / 60) || ' min of each other, on one network'
               AS detail,
           max(least(last_seen_at, before_seen_at)) AS seen_at
    FROM neighbour
    WHERE before_id IS NOT NULL
      AND gap <= %(window)s::interval * least(1.0, %(crowd)s::float / owners)
    GROUP BY 1, 2
    UNION ALL
    SELECT before_id, owner_id, 'network_and_instance', 'one installation''s mark, on one network',
           max(least(last_seen_at, before_seen_at))
    FROM twin
    WHERE before_id IS NOT NULL
    GROUP BY 1, 2
)
INSERT INTO cluster_edge AS known (first_id, second_id, kind, detail, seen_at, expires_at)
SELECT first_id, second_id, kind, detail, seen_at, seen_at + %(lifetime)s::interval
FROM found
WHERE seen_at + %(lifetime)s::interval > %(now)s
ON CONFLICT (first_id, second_id, kind) DO UPDATE
SET seen_at = EXCLUDED.seen_at, expires_at = EXCLUDED.expires_at, detail = EXCLUDED.detail
WHERE EXCLUDED.expires_at > known.expires_at
