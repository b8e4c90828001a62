-- Remember that something was ordered for a unit.
-- Caller: store.units.write_event. Locks: none but the new row's. Rows changed: one.
INSERT INTO unit_event (batch_id, unit_number, owner_id, event, detail, at)
VALUES (%(batch_id)s, %(unit_number)s, NULL, %(event)s, %(detail)s, %(at)s)
