-- What a car's accepted results have earned since a moment, in microcredits.
-- Caller: selectors.earnings.get_gross. Locks: none. Index: earning_item_by_vehicle, one probe for each lane.
-- Rows: one.
SELECT coalesce(sum(amount_microcredits), 0)::bigint
FROM earning_item
WHERE vehicle_id = %(vehicle_id)s AND created_at >= %(since)s
