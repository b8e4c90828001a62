-- Which owners get no new units of a running batch for now, because their cluster holds its share of it.
-- Caller: store.clusters.cap_batches, every few seconds. Locks: batch rows that change, SKIP LOCKED.
-- Index: batch_running, replica_one_per_owner (one short range a batch). Rows changed: one a batch whose cap changed.
-- The share is estimated from the units below `sampled`: units are leased in a secret random order, so that these are
-- a random sample of who works on the batch, and the cost does not grow with it. Batches up to that size are counted.
-- A share counts places, units times the outputs that each needs: a cluster gets a unit once.
-- While nobody has leased any of the sample since `stalled_before`, nobody is capped: those whom the cap would keep
-- away may be the only ones that can run the model at all.
WITH held AS (
    SELECT b.id AS batch_id, b.quorum, b.units_total, coalesce(c.cluster_id, sample.owner_id) AS cluster_id,
           sum(sample.held) AS held, max(max(sample.newest_at)) OVER (PARTITION BY b.id) AS newest_at
    FROM batch b
    CROSS JOIN LATERAL (
        SELECT r.owner_id, max(r.leased_at) AS newest_at,
               count(*) FILTER (WHERE r.role = 0 AND r.state IN ('LEASED', 'COMMITTED', 'REPORTED', 'VALID')) AS held
        FROM replica r
        WHERE r.batch_id = b.id AND r.unit_number < %(sampled)s
        GROUP BY r.owner_id
    ) AS sample
    LEFT JOIN owner_cluster c ON c.owner_id = sample.owner_id
    WHERE b.status = 'in_progress' AND %(share_max)s < 1
    GROUP BY b.id, 4
),
capped AS (
    SELECT held.batch_id, array_agg(coalesce(m.owner_id, held.cluster_id) ORDER BY m.owner_id) AS owner_ids
    FROM held LEFT JOIN owner_cluster m ON m.cluster_id = held.cluster_id
    WHERE held.newest_at >= %(stalled_before)s
      AND held.held >= %(share_max)s * least(held.units_total, %(sampled)s) * held.quorum
    GROUP BY held.batch_id
),
turned AS (
    SELECT b.id, coalesce(capped.owner_ids, '{}') AS owner_ids
    FROM batch b LEFT JOIN capped ON capped.batch_id = b.id
    WHERE b.status IN ('in_progress', 'finalizing') AND b.capped_owner_ids <> coalesce(capped.owner_ids, '{}')
    ORDER BY b.id
    FOR NO KEY UPDATE OF b SKIP LOCKED
)
UPDATE batch SET capped_owner_ids = turned.owner_ids FROM turned WHERE batch.id = turned.id
