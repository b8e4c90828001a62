-- The statement list_batches_to_review, planned once a connection, for every sweep asks and it plans for every lane.
-- Caller: store.verdicts.list_batches_to_review. Rows: one a batch with reviews.
CREATE OR REPLACE FUNCTION list_batches_to_review()
RETURNS TABLE (out_id bigint)
LANGUAGE plpgsql
STABLE
SET enable_seqscan = off
AS $function$
BEGIN
    RETURN QUERY
{list_batches_to_review};
END
$function$
