-- The verdicts of one drain: the statement apply_verdicts, planned once a connection, for planning it takes longer than
-- writing a few dozen verdicts. Of a lane's own tables where it is made with one.
-- Caller: store.verdicts.apply_verdicts. Rows: one; none where the batch is gone.
-- The settings pin the only sensible plan, probes by key, also where a lane looks empty to the planner.
CREATE OR REPLACE FUNCTION apply_verdicts(
    in_batch_id bigint, in_verdict_number integer, in_is_audited boolean, in_now timestamptz,
    in_replica_units integer[], in_replica_owners integer[], in_replica_states text[], in_replica_roles smallint[],
    in_decided_units integer[], in_decided_states text[], in_decided_owners integer[], in_decided_reasons text[],
    in_decided_finals boolean[], in_decided_needs smallint[], in_decided_confirmed smallint[],
    in_changed_units integer[], in_changed_needs smallint[], in_changed_confirmed smallint[],
    in_changed_adopts boolean[], in_changed_finals boolean[],
    in_asked_units integer[], in_asked_owners integer[], in_audits jsonb, in_review_ids bigint[]
)
RETURNS TABLE (out_units_open integer, out_audit_ids bigint[], out_audit_units integer[])
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_mergejoin = off
AS $function$
BEGIN
    RETURN QUERY
{apply_verdicts};
END
$function$
