-- Take the right to carry out one stage (split, assemble) of one batch until the transaction ends; false where another
-- worker has it. Such a transaction may stay open while blobs are written: it holds no row, no snapshot and no
-- transaction id, so nobody waits for it and vacuum does not either.
-- Caller: store.stage_claims.claim_stage. Locks: an advisory one, which also ends with its worker. Rows: one.
SELECT pg_try_advisory_xact_lock(hashtextextended(%(stage)s || ':' || %(batch_id)s::text, 0))
