"""Every named constraint of the hot tables and the ledger is seen to refuse, with Python out of the way."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, connection, transaction

from tests.engine.factories import Car, make_batch, make_project, make_vehicle, rows_of

pytestmark = pytest.mark.django_db


def refuses(constraint: str, statement: str, *parameters: str | int | bytes) -> None:
    with (
        pytest.raises(IntegrityError, match=constraint),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement, parameters)


@pytest.mark.parametrize(
    ("constraint", "change"),
    [
        ("unit_state_known", "state = 'LOST', decided_at = now(), needed = 0"),
        ("unit_has_rows", "rows = 0"),
        ("unit_has_rows", "row_start = -1"),
        ("unit_byte_range", "byte_end = byte_start"),
        ("unit_reward_positive", "reward_microcredits = 0"),
        ("unit_needed_not_negative", "needed = -1"),
        ("unit_needs_replicas_to_be_decided_or_audited", "state = 'CANCELLED', decided_at = now()"),
        ("unit_decided_has_its_time", "state = 'CANCELLED', needed = 0"),
        ("unit_decided_has_its_time", "decided_at = now()"),
        ("unit_valid_has_a_canonical_output", "state = 'VALIDATED', needed = 0, decided_at = now()"),
        ("unit_failed_says_why", "state = 'FAILED', needed = 0, decided_at = now()"),
    ],
)
def test_a_unit_that_makes_no_sense_is_refused(constraint, change):
    batch = make_batch(units=1)
    before = rows_of("unit", batch_id=batch.id)
    refuses(constraint, f"UPDATE unit SET {change} WHERE batch_id = %s", batch.id)
    assert rows_of("unit", batch_id=batch.id) == before


@pytest.mark.parametrize(
    ("constraint", "change"),
    [
        ("replica_state_known", "state = 'GONE', ended_at = now()"),
        ("replica_attempt_positive", "attempt = 0"),
        ("replica_deadline_after_lease", "deadline_at = leased_at"),
        ("replica_committed_has_a_digest", "state = 'COMMITTED'"),
        ("replica_reported_has_its_bytes", "state = 'REPORTED', commitment = 'c', committed_at = now()"),
        (
            "replica_reported_has_its_bytes",
            (
                "state = 'REPORTED', commitment = 'c', committed_at = now(), reported_at = now(), output_digest = 'd',"
                " output = 'x', output_blob = 'y'"
            ),
        ),
        ("replica_ended_has_its_time", "state = 'RETURNED'"),
        ("replica_sketch_is_256_bytes", "sketch = 'short'"),
    ],
)
def test_a_replica_that_makes_no_sense_is_refused(constraint, change):
    batch = make_batch(units=1)
    Car().lease(1)
    before = rows_of("replica", batch_id=batch.id)
    refuses(constraint, f"UPDATE replica SET {change} WHERE batch_id = %s", batch.id)
    assert rows_of("replica", batch_id=batch.id) == before


def test_a_second_replica_of_a_unit_for_the_same_owner_is_refused():
    batch = make_batch(units=1)
    car = Car()
    car.lease(1)
    refuses(
        "replica_.*pkey",
        "INSERT INTO replica (batch_id, unit_number, owner_id, vehicle_id, rows, leased_at, deadline_at)"
        " VALUES (%s, 0, %s, %s, 2, now(), now() + interval '1 hour')",
        batch.id,
        car.owner_id,
        make_vehicle(car.vehicle.owner).id,
    )
    assert len(rows_of("replica", batch_id=batch.id)) == 1


def test_a_second_earning_item_for_a_replica_or_one_of_nothing_is_refused():
    insert = (
        "INSERT INTO earning_item (batch_id, unit_number, owner_id, vehicle_id, amount_microcredits, verdict_number,"
        " created_at) VALUES (1, 0, 1, 1, %s, 1, now())"
    )
    refuses("earning_item_amount_positive", insert, 0)
    with connection.cursor() as cursor:
        cursor.execute(insert, [5])
    refuses("earning_item_.*pkey", insert, 5)


@pytest.mark.parametrize(
    ("constraint", "debit", "credit", "amount"),
    [("transfer_amount_positive", 1, 2, 0), ("transfer_between_two_accounts", 1, 1, 5)],
)
def test_a_transfer_that_makes_no_sense_is_refused(constraint, debit, credit, amount):
    from workunits.models import Account

    accounts = {n: Account.objects.create(code=f"a{n}", kind="cash_in") for n in (1, 2)}
    refuses(
        constraint,
        "INSERT INTO transfer (id, debit_id, credit_id, amount_microcredits, kind, detail, created_at)"
        " VALUES (gen_random_uuid(), %s, %s, %s, 't', '', now())",
        accounts[debit].id,
        accounts[credit].id,
        amount,
    )
    assert rows_of("transfer") == []


@pytest.mark.parametrize(
    ("constraint", "change"),
    [
        ("batch_quorum_1_to_5", "quorum = 6"),
        ("batch_quorum_1_to_5", "quorum = 0"),
        ("batch_price_positive", "price_per_row_microcredits = 0"),
        ("batch_ended_has_time_and_outcome", "status = 'completed'"),
        ("batch_ended_has_time_and_outcome", "ended_at = now()"),
    ],
)
def test_a_batch_that_makes_no_sense_is_refused(constraint, change):
    batch = make_batch()
    refuses(constraint, f"UPDATE batch SET {change} WHERE id = %s", batch.id)


def test_progress_never_goes_below_zero_nor_settles_ahead_of_the_verdicts():
    batch = make_batch()
    refuses("batch_progress_never_negative", "UPDATE batch_progress SET units_open = -1 WHERE batch_id = %s", batch.id)
    refuses(
        "batch_progress_settled_in_order",
        "UPDATE batch_progress SET settled_verdict_number = 1 WHERE batch_id = %s",
        batch.id,
    )


def test_catalog_rows_that_make_no_sense_are_refused():
    project, batch = make_project(), make_batch()
    refuses("blob_named_by_sha256", "INSERT INTO blob (sha256, size_bytes, created_at) VALUES ('ABC', 1, now())")
    refuses("blob_size_not_negative", "UPDATE blob SET size_bytes = -1")
    refuses("model_flops_positive", "UPDATE model SET flops_per_row = 0")
    refuses("model_memory_positive", "UPDATE model SET memory_bytes = 0")
    refuses("model_batch_rows_positive", "UPDATE model SET batch_rows = 0")
    refuses("dataset_has_rows", "UPDATE dataset SET rows = 0")
    refuses("shard_has_rows", "UPDATE shard SET row_end = row_start WHERE batch_id = %s", batch.id)
    refuses(
        "shard_numbered_once",
        "INSERT INTO shard (batch_id, number, blob_sha256, size_bytes, row_start, row_end)"
        " SELECT batch_id, number, blob_sha256, size_bytes, row_start, row_end FROM shard",
    )
    refuses(
        "api_key_has_a_scope",
        "INSERT INTO api_key (public_id, project_id, name, prefix, secret_sha256, scopes, created_at)"
        " VALUES ('k', %s, 'n', 'p', '', '{}', now())",
        project.id,
    )


def test_vehicle_rows_that_make_no_sense_are_refused():
    vehicle = make_vehicle()
    refuses("vehicle_revoked_has_its_time", "UPDATE vehicle SET status = 'revoked' WHERE id = %s", vehicle.id)
    rotation = "UPDATE vehicle SET previous_public_key = 'x' WHERE id = %s"
    refuses("vehicle_rotation_has_its_time", rotation, vehicle.id)
    refuses("vehicle_rules_are_an_object", "UPDATE vehicle SET rules = '[]' WHERE id = %s", vehicle.id)
    pairing = (
        "INSERT INTO device_pairing (device_code_sha256, user_code, public_key, car_name, agent, state, created_at,"
        " expires_at, interval_seconds, match_number, match_choices)"
        " VALUES (%s, 'BCDF-GHJK', '', '', '', %s, now(), now(), 5, %s, '{10,20,30}')"
    )
    with connection.cursor() as cursor:
        cursor.execute(pairing, [b"1", "pending", 20])
    refuses("device_pairing_one_pending_per_code", pairing, b"2", "pending", 20)
    refuses("device_pairing_approved_has_a_vehicle", pairing, b"3", "approved", 20)
    refuses("device_pairing_choices_hold_the_number", pairing, b"4", "denied", 40)
