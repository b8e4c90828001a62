-- What a car's accepted results have earned since a moment, in microcredits, without those that were taken back.
-- Caller: selectors.earnings.get_gross. Locks: none. Index: earning_item_by_vehicle, one probe for each lane, and
-- earning_outcome_one_per_item, one for each item. Rows: one.
SELECT coalesce(sum(i.amount_microcredits), 0)::bigint
FROM earning_item i
WHERE i.vehicle_id = %(vehicle_id)s AND i.created_at >= %(since)s
  AND NOT EXISTS (
      SELECT FROM earning_outcome o
      WHERE o.batch_id = i.batch_id AND o.unit_number = i.unit_number AND o.owner_id = i.owner_id
        AND o.outcome = 'revoked'
      OFFSET 0)
