-- The statement list_open_batches, planned once a connection: it plans for every lane, and every process asks.
-- Caller: store.board.read_open_batches. Rows: one a batch with work.
CREATE OR REPLACE FUNCTION list_open_batches()
RETURNS TABLE (
    out_id bigint, out_lane smallint, out_priority smallint, out_memory_bytes bigint, out_opset integer,
    out_model_sha256 varchar, out_contract jsonb, out_level varchar, out_model_id bigint, out_unit_weight bigint,
    out_barred_owner_ids integer[], out_capped_owner_ids integer[]
)
LANGUAGE plpgsql
STABLE
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $function$
BEGIN
    RETURN QUERY
{list_open_batches};
END
$function$
