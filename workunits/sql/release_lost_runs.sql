-- Take runs back from anchors that must have died with them: past what loading and running may take, twice the
-- contract's seconds, and some more. One that was tried often enough has failed.
-- Caller: store.anchors.release_lost_runs. Locks: those runs. Index: anchor_run_one_under_way_per_unit, which holds
-- only runs under way. Rows changed: those that are lost.
UPDATE anchor_run r
SET state = CASE WHEN r.attempts >= %(attempts_max)s THEN 'failed' ELSE 'waiting' END,
    done_at = CASE WHEN r.attempts >= %(attempts_max)s THEN %(now)s END,
    error = left('nothing more was heard of ' || r.claimed_by, 300)
FROM batch b
WHERE r.state = 'running'
  AND b.id = r.batch_id
  AND r.claimed_at < %(now)s::timestamptz
      - make_interval(secs => %(grace_seconds)s + 2 * (b.contract -> 'limits' ->> 'seconds')::double precision)
