-- Some clusters that have a car that may work and was heard of lately; an owner without a cluster counts as one.
-- Caller: store.clusters.list_active_clusters, for who asks whom a batch waits for. Locks: none.
-- Index: none; reads every heartbeat (no index holds last_seen_at, so that syncs stay cheap). Rows: `clusters_max`.
SELECT DISTINCT coalesce(c.cluster_id, v.owner_id)
FROM vehicle_presence p
JOIN vehicle v ON v.id = p.vehicle_id
LEFT JOIN owner_cluster c ON c.owner_id = v.owner_id
WHERE p.last_seen_at > %(since)s AND p.eligible AND v.status = 'active'
LIMIT %(clusters_max)s
