-- How far outputs were apart in the newest audits, by model and the classes of both sides.
-- Caller: selectors.audit_statistics. Locks: none. Index: audit by id, backwards. Rows: few a model and pair of classes;
-- read are `audits_max` audits. Of the two rows of an audit, one for each side, only the audited side's is counted. Equal
-- digests are apart by nothing.
SELECT b.model_id, m.name, m.public_id, a.primary_class, a.auditor_class,
       width_bucket(a.distance, %(edges)s::double precision[]) AS bucket, count(*), max(a.distance)
FROM (
    SELECT batch_id, primary_class, auditor_class,
           CASE WHEN stage = 'digest' THEN coalesce(distance, 0) ELSE distance END AS distance
    FROM (SELECT * FROM audit ORDER BY id DESC LIMIT %(audits_max)s) newest
    WHERE reason <> 'auditing'
) a
JOIN batch b ON b.id = a.batch_id
JOIN model m ON m.id = b.model_id
WHERE a.distance IS NOT NULL AND (%(model)s = '' OR m.public_id = %(model)s)
GROUP BY b.model_id, m.name, m.public_id, a.primary_class, a.auditor_class, bucket
ORDER BY m.name, b.model_id, a.primary_class, a.auditor_class, bucket
