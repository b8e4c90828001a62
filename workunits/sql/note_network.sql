-- An owner's car called from this network: its first and its last time.
-- Caller: store.clusters.note_network, after a sync, once a day and owner from each process. Locks: that one row.
-- Index: owner_network_once. Rows changed: 1, or 0 where another process has noted it lately.
INSERT INTO owner_network AS known (owner_id, prefix_hash, first_seen_at, last_seen_at)
VALUES (%(owner_id)s, %(prefix_hash)s, %(now)s, %(now)s)
ON CONFLICT (owner_id, prefix_hash) DO UPDATE SET last_seen_at = EXCLUDED.last_seen_at
WHERE known.last_seen_at < %(now)s::timestamptz - interval '12 hours'
