-- The hot tables: unit, replica, review, earning_item, unit_event.
-- Sixteen hash partitions by batch ("lanes"): every key begins with the batch, so a database engine that shards by
-- batch can take them over as they are. The views give Django's admin the one-column key that it needs.
-- Fill factors leave room on the page for the next version of a row.

CREATE TABLE unit (
    batch_id            bigint      NOT NULL,
    number              integer     NOT NULL,
    shard_number        integer     NOT NULL,
    row_start           bigint      NOT NULL,
    rows                integer     NOT NULL,
    byte_start          bigint      NOT NULL,
    byte_end            bigint      NOT NULL,
    input_digest        bytea       NOT NULL,
    reward_microcredits bigint      NOT NULL,
    state               text        NOT NULL DEFAULT 'OPEN',
    needed              smallint    NOT NULL,
    urgent              boolean     NOT NULL DEFAULT false,
    canonical_owner_id  integer,
    decided_at          timestamptz,
    reason              text        NOT NULL DEFAULT '',
    CONSTRAINT unit_pkey PRIMARY KEY (batch_id, number),
    CONSTRAINT unit_state_known CHECK (state IN ('OPEN', 'VALIDATED', 'ASSEMBLED', 'FAILED', 'CANCELLED')),
    CONSTRAINT unit_has_rows CHECK (rows > 0 AND row_start >= 0),
    CONSTRAINT unit_byte_range CHECK (byte_end > byte_start AND byte_start >= 0),
    CONSTRAINT unit_reward_positive CHECK (reward_microcredits > 0),
    CONSTRAINT unit_needed_not_negative CHECK (needed >= 0),
    CONSTRAINT unit_only_open_needs_replicas CHECK (needed = 0 OR state = 'OPEN'),
    CONSTRAINT unit_decided_has_its_time CHECK ((state = 'OPEN') = (decided_at IS NULL)),
    CONSTRAINT unit_valid_has_a_canonical_output
        CHECK ((state IN ('VALIDATED', 'ASSEMBLED')) = (canonical_owner_id IS NOT NULL)),
    CONSTRAINT unit_failed_says_why CHECK (state <> 'FAILED' OR reason <> '')
) PARTITION BY HASH (batch_id);

CREATE TABLE replica (
    batch_id      bigint      NOT NULL,
    unit_number   integer     NOT NULL,
    owner_id      integer     NOT NULL,
    vehicle_id    bigint      NOT NULL,
    attempt       smallint    NOT NULL DEFAULT 1,
    state         text        NOT NULL DEFAULT 'LEASED',
    rows          integer     NOT NULL,
    leased_at     timestamptz NOT NULL,
    deadline_at   timestamptz NOT NULL,
    committed_at  timestamptz,
    reported_at   timestamptz,
    ended_at      timestamptz,
    commitment    bytea,
    sketch        bytea,
    output_bytes  integer,
    output_digest bytea,
    output        bytea,
    output_blob   text,
    seconds       real,
    reason        text        NOT NULL DEFAULT '',
    -- An owner holds at most one replica of a unit: two of his cars could otherwise agree on a lie.
    CONSTRAINT replica_one_per_owner PRIMARY KEY (batch_id, unit_number, owner_id),
    CONSTRAINT replica_state_known CHECK (state IN ('LEASED', 'COMMITTED', 'REPORTED', 'VALID', 'INVALID',
        'INCONCLUSIVE', 'RETURNED', 'ERRORED', 'EXPIRED', 'CANCELLED', 'REVOKED')),
    CONSTRAINT replica_attempt_positive CHECK (attempt > 0),
    CONSTRAINT replica_deadline_after_lease CHECK (deadline_at > leased_at),
    CONSTRAINT replica_committed_has_a_digest
        CHECK (state NOT IN ('COMMITTED', 'REPORTED', 'VALID', 'INVALID', 'INCONCLUSIVE', 'REVOKED')
               OR (commitment IS NOT NULL AND committed_at IS NOT NULL)),
    -- REPORTED means that the bytes are here, in the row or in the blob store, under a digest that we computed.
    CONSTRAINT replica_reported_has_its_bytes
        CHECK (state NOT IN ('REPORTED', 'VALID', 'INVALID', 'INCONCLUSIVE', 'REVOKED')
               OR (reported_at IS NOT NULL AND output_digest IS NOT NULL
                   AND (output IS NULL) <> (output_blob IS NULL))),
    CONSTRAINT replica_ended_has_its_time
        CHECK ((state IN ('LEASED', 'COMMITTED', 'REPORTED')) = (ended_at IS NULL)),
    CONSTRAINT replica_sketch_is_256_bytes CHECK (sketch IS NULL OR octet_length(sketch) = 256)
) PARTITION BY HASH (batch_id);

-- What validate has to look at: one row for each report, hand-back, error or expiry. Drained and deleted by batch.
CREATE SEQUENCE review_id_seq;
CREATE TABLE review (
    batch_id    bigint  NOT NULL,
    id          bigint  NOT NULL DEFAULT nextval('review_id_seq'),
    unit_number integer NOT NULL,
    CONSTRAINT review_pkey PRIMARY KEY (batch_id, id)
) PARTITION BY HASH (batch_id);

-- Immutable. Unique per replica; verdict_number is the order in which settlement takes them.
CREATE TABLE earning_item (
    batch_id            bigint      NOT NULL,
    unit_number         integer     NOT NULL,
    owner_id            integer     NOT NULL,
    vehicle_id          bigint      NOT NULL,
    amount_microcredits bigint      NOT NULL,
    verdict_number      integer     NOT NULL,
    created_at          timestamptz NOT NULL,
    CONSTRAINT earning_item_one_per_replica PRIMARY KEY (batch_id, unit_number, owner_id),
    CONSTRAINT earning_item_amount_positive CHECK (amount_microcredits > 0)
) PARTITION BY HASH (batch_id);

CREATE SEQUENCE unit_event_id_seq;
CREATE TABLE unit_event (
    batch_id    bigint      NOT NULL,
    unit_number integer     NOT NULL,
    id          bigint      NOT NULL DEFAULT nextval('unit_event_id_seq'),
    owner_id    integer,
    event       text        NOT NULL,
    detail      text        NOT NULL DEFAULT '',
    at          timestamptz NOT NULL,
    CONSTRAINT unit_event_pkey PRIMARY KEY (batch_id, unit_number, id)
) PARTITION BY HASH (batch_id);

DO $$
BEGIN
    FOR lane IN 0..15 LOOP
        EXECUTE format('CREATE TABLE unit_%s PARTITION OF unit FOR VALUES WITH (MODULUS 16, REMAINDER %s)
                        WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05)', lane, lane);
        EXECUTE format('CREATE TABLE replica_%s PARTITION OF replica FOR VALUES WITH (MODULUS 16, REMAINDER %s)
                        WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05)', lane, lane);
        EXECUTE format('CREATE TABLE review_%s PARTITION OF review FOR VALUES WITH (MODULUS 16, REMAINDER %s)
                        WITH (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000)', lane, lane);
        EXECUTE format('CREATE TABLE earning_item_%s PARTITION OF earning_item
                        FOR VALUES WITH (MODULUS 16, REMAINDER %s)', lane, lane);
        EXECUTE format('CREATE TABLE unit_event_%s PARTITION OF unit_event
                        FOR VALUES WITH (MODULUS 16, REMAINDER %s)', lane, lane);
    END LOOP;
END $$;

-- What lease_replicas reads: units in order, and apart from them the few that came back and should go out first.
CREATE INDEX unit_leasable ON unit (batch_id, number) WHERE needed > 0;
CREATE INDEX unit_leasable_urgent ON unit (batch_id, number) WHERE needed > 0 AND urgent;
-- What settlement reads, in verdict order.
CREATE INDEX earning_item_by_verdict ON earning_item (batch_id, verdict_number);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are never changed or removed; write a correcting row instead', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER earning_item_is_immutable BEFORE UPDATE OR DELETE ON earning_item
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER transfer_is_immutable BEFORE UPDATE OR DELETE ON transfer
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER transfer_is_never_truncated BEFORE TRUNCATE ON transfer
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE SEQUENCE transfer_sequence_seq OWNED BY transfer.sequence;
ALTER TABLE transfer ALTER COLUMN sequence SET DEFAULT nextval('transfer_sequence_seq');

ALTER TABLE vehicle_presence SET (fillfactor = 50);
ALTER TABLE batch_progress SET (fillfactor = 50);

CREATE VIEW unit_view AS
    SELECT batch_id || ':' || number AS id, unit.* FROM unit;
CREATE VIEW replica_view AS
    SELECT batch_id || ':' || unit_number || ':' || owner_id AS id, batch_id, unit_number, owner_id, vehicle_id, attempt,
           state, rows, leased_at, deadline_at, committed_at, reported_at, ended_at, output_bytes, output_digest, output_blob,
           seconds, reason
    FROM replica;
CREATE VIEW earning_item_view AS
    SELECT batch_id || ':' || unit_number || ':' || owner_id AS id, earning_item.* FROM earning_item;
CREATE VIEW unit_event_view AS
    SELECT batch_id || ':' || unit_number || ':' || id AS id, batch_id, unit_number, owner_id, event, detail, at
    FROM unit_event;
CREATE VIEW account_balance_view AS
    SELECT account.id AS account_id,
           coalesce(debits.total, 0)::bigint AS debit_microcredits,
           coalesce(credits.total, 0)::bigint AS credit_microcredits,
           (coalesce(credits.total, 0) - coalesce(debits.total, 0))::bigint AS balance_microcredits
    FROM account
    LEFT JOIN LATERAL (SELECT sum(amount_microcredits) AS total FROM transfer WHERE debit_id = account.id) debits ON true
    LEFT JOIN LATERAL (SELECT sum(amount_microcredits) AS total FROM transfer WHERE credit_id = account.id) credits ON true;
