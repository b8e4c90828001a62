-- What a sync does to the database, in one call and so in one transaction: record_sync, then lease_known and lease_replicas for one
-- batch after the other until the car has what it wants. Returns their rows; none where another sync of the car won.
-- Caller: store.leases.sync_vehicle.
-- A function, because its statements are planned once a connection, whoever the caller is: planning them takes longer
-- than running them, and a pooler may hand the connection on after any transaction. The settings pin the only sensible
-- plan, probes by key, also where a lane looks empty to the planner because its last rows were purged.
CREATE OR REPLACE FUNCTION sync_vehicle(
    in_vehicle_id bigint, in_owner_id integer, in_counter_seen bigint, in_counter bigint, in_trust_life integer,
    in_now timestamptz, in_kept_until timestamptz, in_audits_from timestamptz,
    in_eligible boolean, in_reasons text[], in_agent text, in_comparison_class text, in_memory_bytes bigint,
    in_opset_max integer,
    in_batches bigint[], in_seen_batches bigint[], in_seen_units integer[],
    in_commit_batches bigint[], in_commit_units integer[], in_commit_attempts integer[], in_commitments bytea[],
    in_sketches bytea[], in_output_sizes integer[], in_outputs bytea[], in_output_digests bytea[],
    in_output_rows integer[], in_seconds real[],
    in_draw_batches bigint[], in_draw_units integer[], in_draw_attempts smallint[], in_draw_levels smallint[],
    in_draw_models bigint[], in_draw_numbers double precision[], in_draw_reserves double precision[],
    in_draw_own_factors double precision[], in_draw_floors double precision[], in_draw_certains double precision[],
    in_draw_youngs double precision[],
    in_end_batches bigint[], in_end_units integer[], in_end_attempts integer[], in_end_states text[],
    in_end_reasons text[],
    in_lease_batches bigint[], in_lease_cursors integer[], in_lease_starts integer[], in_any_place integer,
    in_lease_knowns integer[],
    in_lease_audits_by timestamptz[], in_lease_audits_max integer[], in_cluster_owners integer[], in_wanted integer, in_attempts_max integer,
    in_deadline_at timestamptz
)
RETURNS TABLE (
    out_kind text, out_batch_id bigint, out_unit_number integer, out_vehicle_id bigint, out_attempt smallint,
    out_state text, out_rows integer, out_digest bytea, out_shard_sha256 text, out_byte_start bigint,
    out_byte_end bigint, out_role smallint, out_bytes_wanted boolean
)
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $function$
DECLARE
    in_batch_id bigint;
    in_cursor integer;
    in_start integer;
    in_known integer;
    in_audits_by timestamptz;
    in_audits_max integer;
    found_count integer;
BEGIN
    RETURN QUERY
{record_sync};
    IF NOT FOUND THEN
        RETURN;
    END IF;
    FOR in_turn IN 1 .. cardinality(in_lease_batches) LOOP
        EXIT WHEN in_wanted <= 0;
        in_batch_id := in_lease_batches[in_turn];
        in_cursor := in_lease_cursors[in_turn];
        in_start := in_lease_starts[in_turn];
        in_known := in_lease_knowns[in_turn];
        in_audits_by := in_lease_audits_by[in_turn];
        in_audits_max := in_lease_audits_max[in_turn];
        IF in_known > 0 THEN
            RETURN QUERY
{lease_known};
            GET DIAGNOSTICS found_count = ROW_COUNT;
            in_wanted := in_wanted - found_count;
            EXIT WHEN in_wanted <= 0;
        END IF;
        RETURN QUERY
{lease_replicas};
        GET DIAGNOSTICS found_count = ROW_COUNT;
        in_wanted := in_wanted - found_count;
    END LOOP;
END
$function$
