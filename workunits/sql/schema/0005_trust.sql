-- The public log of models is only ever added to; models admitted before there was an admission service are asked for.
CREATE TRIGGER admission_log_is_immutable BEFORE UPDATE OR DELETE ON admission_log
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER admission_log_is_never_truncated BEFORE TRUNCATE ON admission_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

INSERT INTO model_admission (model_id, sha256, request, state, reason, attempts, requested_at)
SELECT m.id, m.blob_id,
    jsonb_build_object(
        'fixed_dims', '{}'::jsonb,
        'batch_rows', m.batch_rows,
        'outputs', (SELECT jsonb_agg(jsonb_build_object(
            'name', o -> 'name', 'comparator', o -> 'comparator', 'tolerance', o -> 'tolerance') ORDER BY place)
            FROM jsonb_array_elements(m.outputs) WITH ORDINALITY AS listed (o, place))
    ),
    'requested', '', 0, m.created_at
FROM model m;
