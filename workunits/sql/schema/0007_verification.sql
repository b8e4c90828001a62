-- Verification by audits: what the hot tables gain, each vehicle's log of commitments, and what follows from verdicts.

ALTER TABLE unit
    -- Units are leased in this order, a secret permutation: a re-run must not show by its place in the input.
    ADD COLUMN place integer NOT NULL DEFAULT 0,
    ADD COLUMN final_at timestamptz,
    -- How many other outputs, of other clusters or of an anchor, agree with the canonical one.
    ADD COLUMN confirmed smallint NOT NULL DEFAULT 0,
    DROP CONSTRAINT unit_only_open_needs_replicas,
    ADD CONSTRAINT unit_needs_replicas_to_be_decided_or_audited
        CHECK (needed = 0 OR state IN ('OPEN', 'VALIDATED', 'ASSEMBLED')),
    ADD CONSTRAINT unit_final_has_a_result CHECK (final_at IS NULL OR state IN ('VALIDATED', 'ASSEMBLED')),
    ADD CONSTRAINT unit_confirmed_not_negative CHECK (confirmed >= 0);
UPDATE unit SET place = number;
UPDATE unit SET final_at = decided_at WHERE state IN ('VALIDATED', 'ASSEMBLED');
UPDATE batch_progress
SET rows_final = rows_validated, units_final = units_validated, released_verdict_number = settled_verdict_number;
DROP INDEX unit_leasable;
DROP INDEX unit_leasable_urgent;
CREATE INDEX unit_leasable ON unit (batch_id, place) WHERE needed > 0 AND NOT urgent;
CREATE INDEX unit_leasable_urgent ON unit (batch_id, place) WHERE needed > 0 AND urgent;
-- Known answers: what a new vehicle is tried with. Without the state, so that most verdicts change no index.
CREATE INDEX unit_known ON unit (batch_id, place) WHERE confirmed > 0;

ALTER TABLE replica
    -- 0 primary, 1 audit, 2 known answer. No car is ever told.
    ADD COLUMN role smallint NOT NULL DEFAULT 0,
    -- The unit's reward: what the result weighs when it is drawn.
    ADD COLUMN weight bigint NOT NULL DEFAULT 0,
    -- The vehicle's number of this commitment, at levels with audits.
    ADD COLUMN sequence bigint,
    -- Whether the draw chose it; whether its vehicle was young for this weight.
    ADD COLUMN drawn boolean NOT NULL DEFAULT false,
    ADD COLUMN young boolean NOT NULL DEFAULT false,
    ADD COLUMN comparison_class text NOT NULL DEFAULT '',
    -- An audit's bytes are asked for only where digest and sketch leave a doubt.
    ADD COLUMN bytes_wanted boolean NOT NULL DEFAULT false,
    ADD CONSTRAINT replica_role_known CHECK (role IN (0, 1, 2)),
    -- An audit that agreed by digest or sketch never sent its bytes.
    DROP CONSTRAINT replica_reported_has_its_bytes,
    ADD CONSTRAINT replica_reported_has_its_bytes
        CHECK (state NOT IN ('REPORTED', 'VALID', 'INVALID', 'INCONCLUSIVE', 'REVOKED')
               OR role <> 0 AND state <> 'REPORTED'
               OR (reported_at IS NOT NULL AND output_digest IS NOT NULL
                   AND (output IS NULL) <> (output_blob IS NULL)));

-- Provisional ones wait for their outcome. Re-runs are paid by the platform, not by the batch's budget.
ALTER TABLE earning_item
    ADD COLUMN provisional boolean NOT NULL DEFAULT false,
    ADD COLUMN verification boolean NOT NULL DEFAULT false;

-- Immutable. What became of a provisional earning item: one row for each, in the order of the batch's verdicts.
CREATE TABLE earning_outcome (
    batch_id            bigint      NOT NULL,
    unit_number         integer     NOT NULL,
    owner_id            integer     NOT NULL,
    outcome             text        NOT NULL,
    amount_microcredits bigint      NOT NULL,
    verdict_number      integer     NOT NULL,
    created_at          timestamptz NOT NULL,
    CONSTRAINT earning_outcome_one_per_item PRIMARY KEY (batch_id, unit_number, owner_id),
    CONSTRAINT earning_outcome_known CHECK (outcome IN ('final', 'revoked')),
    CONSTRAINT earning_outcome_amount_positive CHECK (amount_microcredits > 0)
) PARTITION BY HASH (batch_id);

DO $$
BEGIN
    FOR lane IN 0..15 LOOP
        EXECUTE format('CREATE TABLE earning_outcome_%s PARTITION OF earning_outcome
                        FOR VALUES WITH (MODULUS 16, REMAINDER %s)', lane, lane);
    END LOOP;
END $$;
CREATE INDEX earning_outcome_by_verdict ON earning_outcome (batch_id, verdict_number);
CREATE TRIGGER earning_outcome_is_immutable BEFORE UPDATE OR DELETE ON earning_outcome
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- Immutable while it is kept: a vehicle's commitments at levels with audits, numbered by it, with the draw's
-- probability. Rows behind what is folded and final are purged.
CREATE TABLE vehicle_commit (
    vehicle_id       bigint      NOT NULL,
    sequence         bigint      NOT NULL,
    batch_id         bigint      NOT NULL,
    unit_number      integer     NOT NULL,
    owner_id         integer     NOT NULL,
    attempt          smallint    NOT NULL,
    level            smallint    NOT NULL,
    role             smallint    NOT NULL,
    model_id         bigint      NOT NULL,
    comparison_class text        NOT NULL,
    weight           bigint      NOT NULL,
    probability      real        NOT NULL,
    drawn            boolean     NOT NULL,
    committed_at     timestamptz NOT NULL,
    CONSTRAINT vehicle_commit_in_sequence PRIMARY KEY (vehicle_id, sequence),
    CONSTRAINT vehicle_commit_sequence_positive CHECK (sequence > 0),
    CONSTRAINT vehicle_commit_probability CHECK (probability >= 0 AND probability <= 1)
);

-- Vehicles whose results were judged since their trust was last folded.
CREATE TABLE trust_due (
    vehicle_id bigint PRIMARY KEY
);

CREATE TRIGGER trust_event_is_immutable BEFORE UPDATE OR DELETE ON trust_event
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

DROP VIEW unit_view;
CREATE VIEW unit_view AS
    SELECT batch_id || ':' || number AS id, unit.* FROM unit;
DROP VIEW replica_view;
CREATE VIEW replica_view AS
    SELECT batch_id || ':' || unit_number || ':' || owner_id AS id, batch_id, unit_number, owner_id, vehicle_id, attempt,
           state, rows, leased_at, deadline_at, committed_at, reported_at, ended_at, output_bytes, output_digest, output_blob,
           seconds, reason, role, weight, sequence, drawn, young, comparison_class, bytes_wanted
    FROM replica;
DROP VIEW earning_item_view;
CREATE VIEW earning_item_view AS
    SELECT batch_id || ':' || unit_number || ':' || owner_id AS id, earning_item.* FROM earning_item;
CREATE VIEW earning_outcome_view AS
    SELECT batch_id || ':' || unit_number || ':' || owner_id AS id, earning_outcome.* FROM earning_outcome;
CREATE VIEW vehicle_commit_view AS
    SELECT vehicle_id || ':' || sequence AS id, vehicle_commit.* FROM vehicle_commit;
