-- Mark the units whose rows are in the result files.
-- Caller: store.results.finish_assembly, whose transaction holds the batch's row. Locks: the units.
-- Index: unit_pkey (the batch's range). Rows changed: one for each validated unit.
UPDATE unit SET state = 'ASSEMBLED' WHERE batch_id = %(batch_id)s AND state = 'VALIDATED'
