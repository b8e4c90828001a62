-- Who is calling: the statement authenticate_vehicle, planned once a connection, for it has more to join than to read:
-- planning it anew for every request would cost more than running it, and a few per cent of what a sync costs.
-- Caller: store.vehicles.find_vehicle. Rows: 0 or 1.
CREATE OR REPLACE FUNCTION find_vehicle(in_public_id text)
RETURNS TABLE (
    out_id bigint, out_owner_id integer, out_public_key bytea, out_status varchar,
    out_counter bigint, out_open_batch_ids bigint[], out_open_unit_numbers integer[],
    out_cursor_batch_id bigint, out_cursor_unit_number integer, out_misses integer,
    out_previous_public_key bytea, out_clone_suspected_at timestamptz, out_rules jsonb, out_instance varchar,
    out_boot_marks varchar[], out_boot_changed_at timestamptz, out_walls varchar[],
    out_clock_skew_seconds double precision, out_trust_life integer, out_last_seen_at timestamptz,
    out_audits_from timestamptz, out_standing varchar, out_cluster_owner_ids integer[], out_trust json,
    out_unresolved json
)
LANGUAGE plpgsql
STABLE
ROWS 1
SET plan_cache_mode = force_generic_plan
AS $function$
BEGIN
    RETURN QUERY
{authenticate_vehicle};
END
$function$
