-- How often units were run for one result, in the first units of each batch. Units are leased in a secret random order,
-- so that these are a sample of all; of a small batch they are all.
-- Caller: selectors.verification. Locks: none. Index: unit and replica by their keys, in one lane a batch.
-- Rows: one for each batch; read are at most `units_max` units of each and their replicas.
SELECT asked.id, sample.units, sample.executions
FROM unnest(%(batches)s::bigint[]) AS asked (id)
CROSS JOIN LATERAL (
    SELECT count(DISTINCT u.number) AS units, count(r.batch_id) AS executions
    FROM unit u
    LEFT JOIN replica r
        ON r.batch_id = asked.id AND r.unit_number = u.number AND r.unit_number < %(units_max)s
           AND r.state IN ('COMMITTED', 'REPORTED', 'VALID', 'INVALID', 'INCONCLUSIVE', 'REVOKED')
    WHERE u.batch_id = asked.id AND u.number < %(units_max)s AND u.state IN ('VALIDATED', 'ASSEMBLED')
) AS sample
