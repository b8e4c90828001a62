-- The car behind a key id, and where it stands with us.
-- Caller: store.vehicles.find_vehicle, first statement of every vehicle request. Locks: none.
-- Index: vehicle_public_id_key, vehicle_presence_pkey. Rows: 0 or 1.
SELECT v.id, v.owner_id, v.public_key, v.status,
       p.counter, p.open_batch_ids, p.open_unit_numbers, p.cursor_batch_id, p.cursor_unit_number, p.misses,
       v.previous_public_key, v.clone_suspected_at, v.rules, p.instance, p.boot_marks, p.boot_changed_at, p.walls,
       p.clock_skew_seconds
FROM vehicle v
JOIN vehicle_presence p ON p.vehicle_id = v.id
WHERE v.public_id = %(public_id)s
