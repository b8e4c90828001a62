-- For `GET account`: what a car has earned today. It includes the amount, so that the sum never reads the table.
CREATE INDEX earning_item_by_vehicle ON earning_item (vehicle_id, created_at) INCLUDE (amount_microcredits);
ALTER TABLE vehicle ADD CONSTRAINT vehicle_rules_are_an_object CHECK (jsonb_typeof(rules) = 'object');
