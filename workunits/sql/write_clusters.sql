-- Make `owner_cluster` say what was computed: owners in a cluster with others, each with its cluster; nobody else.
-- Caller: store.clusters.write_clusters, under an advisory lock. Locks: the rows it changes.
-- Index: owner_cluster_pkey. Rows changed: one for each owner whose cluster changed.
WITH computed AS MATERIALIZED (
    SELECT * FROM unnest(%(owners)s::integer[], %(clusters)s::integer[]) AS c (owner_id, cluster_id)
),
parted AS (
    DELETE FROM owner_cluster WHERE owner_id NOT IN (SELECT owner_id FROM computed)
)
INSERT INTO owner_cluster AS known (owner_id, cluster_id, computed_at)
SELECT owner_id, cluster_id, %(now)s FROM computed ORDER BY owner_id
ON CONFLICT (owner_id) DO UPDATE SET cluster_id = EXCLUDED.cluster_id, computed_at = EXCLUDED.computed_at
WHERE known.cluster_id <> EXCLUDED.cluster_id
