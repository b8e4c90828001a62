-- One admission service at a time publishes: a lock of the session, freed with its connection.
-- Caller: store.trust_files.claim_publishing, once a start. Locks: advisory. Rows: one.
SELECT pg_try_advisory_lock(%(lock)s)
