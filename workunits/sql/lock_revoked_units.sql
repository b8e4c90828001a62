-- The next units of a batch with results to take back, locked in order of their number: leases and verdicts under way
-- end first, so their replicas must be read by a later statement.
-- Caller: store.revocations.take_back, holding the batch's verdict lock and its row. Index: revocation_to_do, unit_pkey.
-- Rows: at most `units_max`.
SELECT u.number FROM unit u
WHERE u.batch_id = %(batch_id)s AND u.number IN (
    SELECT x.unit_number FROM revocation x
    WHERE x.batch_id = %(batch_id)s AND x.done_at IS NULL
    GROUP BY x.unit_number ORDER BY x.unit_number LIMIT %(units_max)s)
ORDER BY u.number
FOR UPDATE OF u
