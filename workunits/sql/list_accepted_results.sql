-- The newest results and known answers of a vehicle that were accepted at levels with audits and are in its weights, newest
-- first. Audits that it did for others add nothing to what it is believed.
-- Caller: selectors.vehicle_trust. Locks: none. Index: earning_item_by_vehicle, backwards in each lane; then
-- replica_one_per_owner and batch_pkey, one probe each an item. Rows: at most `items_max`.
SELECT r.committed_at, b.level, i.amount_microcredits
FROM (
    SELECT batch_id, unit_number, owner_id, created_at, amount_microcredits
    FROM earning_item
    WHERE vehicle_id = %(vehicle_id)s AND provisional
    ORDER BY created_at DESC
    LIMIT %(items_max)s
) AS i
JOIN batch b ON b.id = i.batch_id
JOIN replica r ON r.batch_id = i.batch_id AND r.unit_number = i.unit_number AND r.owner_id = i.owner_id
JOIN vehicle_standing s ON s.vehicle_id = %(vehicle_id)s
WHERE r.role <> 1 AND r.vehicle_id = %(vehicle_id)s AND r.sequence <= s.folded_sequence
ORDER BY r.committed_at DESC
