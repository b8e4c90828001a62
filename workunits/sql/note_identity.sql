-- What hardly ever changes about a car: its installation, its process, its walls, its clock; and a suspected copy.
-- Caller: store.vehicles.note_identity, after a sync that brought something new. Locks: presence row, then vehicle row.
-- Index: vehicle_presence_pkey, vehicle_pkey. Rows changed: 1 where a copy is suspected, else 0.
WITH noted AS (
    UPDATE vehicle_presence
    SET instance = %(instance)s, boot_marks = %(boot_marks)s::varchar[], boot_changed_at = %(boot_changed_at)s,
        walls = %(walls)s::varchar[], clock_skew_seconds = %(clock_skew_seconds)s
    WHERE vehicle_id = %(vehicle_id)s
    RETURNING vehicle_id
)
UPDATE vehicle SET clone_suspected_at = %(clone_suspected_at)s
FROM noted
WHERE vehicle.id = noted.vehicle_id AND %(clone_suspected_at)s::timestamptz IS NOT NULL
