-- Have some units of one batch looked at again.
-- Caller: store.audits.queue_reviews. Locks: none. Rows changed: one a unit.
INSERT INTO review (batch_id, unit_number) SELECT %(batch_id)s, number FROM unnest(%(units)s::integer[]) AS u (number)
