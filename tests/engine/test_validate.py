"""Validation: quorum without order, inconclusive asks for another, cheats earn nothing, failures say why."""

from __future__ import annotations

import itertools

import pytest

from tests.engine.factories import (
    NOW,
    Car,
    commit,
    honest_output,
    known,
    later,
    lease_seconds,
    make_batch,
    make_owner,
    make_vehicle,
    rows_of,
)
from workunits.models import Batch, BatchProgress
from workunits.pipeline.recover import expire_overdue_leases
from workunits.pipeline.upload import accept_part
from workunits.pipeline.validate import validate_ready

pytestmark = pytest.mark.django_db


def states(batch):
    return {row["owner_id"]: row["state"] for row in rows_of("replica", batch_id=batch.id)}


def only_unit(batch):
    return rows_of("unit", batch_id=batch.id)[0]


def progress(batch):
    return BatchProgress.objects.get(batch=batch)


def report(batch, *values):
    """Let one car each lease the batch's next unit and report `value`; return the cars."""
    cars = [Car() for _ in values]
    for car, value in zip(cars, values, strict=True):
        assert car.lease(1)
        car.report_all(value)
    return cars


def test_two_equal_outputs_validate_a_unit_and_earn_both_owners_the_reward():
    batch = make_batch(units=1, reward=50)
    first, second = report(batch, 1.0, 1.0)
    assert validate_ready(now=NOW) is True
    assert states(batch) == {first.owner_id: "VALID", second.owner_id: "VALID"}
    unit = only_unit(batch)
    assert (unit["state"], unit["canonical_owner_id"]) == ("VALIDATED", min(first.owner_id, second.owner_id))
    items = rows_of("earning_item", batch_id=batch.id)
    assert [(item["owner_id"], item["amount_microcredits"]) for item in items] == [
        (first.owner_id, 50),
        (second.owner_id, 50),
    ]
    assert Batch.objects.get(id=batch.id).status == "finalizing"
    assert (progress(batch).units_open, progress(batch).units_validated, progress(batch).rows_validated) == (0, 1, 2)
    assert rows_of("review") == []


def test_one_output_of_two_decides_nothing():
    batch = make_batch(units=1)
    report(batch, 1.0)
    assert validate_ready(now=NOW) is False
    assert only_unit(batch)["state"] == "OPEN"
    assert rows_of("review") == []
    assert rows_of("earning_item") == []


def test_outputs_within_the_tolerance_agree_though_their_bytes_differ():
    batch = make_batch(units=1)
    report(batch, 1.0, 1.00005)
    validate_ready(now=NOW)
    assert set(states(batch).values()) == {"VALID"}


@pytest.mark.parametrize("order", list(itertools.permutations([1.0, 1.0, 7.0])))
def test_a_cheat_is_caught_by_a_third_car_whatever_the_order(order):
    batch = make_batch(units=1)
    cars = report(batch, *order[:2])
    validate_ready(now=NOW)
    if order[0] != order[1]:
        unit = only_unit(batch)
        assert (unit["state"], unit["needed"], unit["urgent"]) == ("OPEN", 1, True)
        cars += report(batch, order[2])
        validate_ready(now=NOW)
        cheat = cars[order.index(7.0)]
        assert states(batch)[cheat.owner_id] == "INVALID"
        assert cheat.owner_id not in {item["owner_id"] for item in rows_of("earning_item")}
    assert only_unit(batch)["state"] == "VALIDATED"
    assert len(rows_of("earning_item")) == 2


def test_an_output_between_match_and_mismatch_is_inconclusive_and_unpaid():
    batch = make_batch(units=1)
    cars = report(batch, 1.0, 1.0002)
    validate_ready(now=NOW)
    assert only_unit(batch)["needed"] == 1
    cars += report(batch, 1.0)
    validate_ready(now=NOW)
    assert states(batch) == {
        cars[0].owner_id: "VALID",
        cars[1].owner_id: "INCONCLUSIVE",
        cars[2].owner_id: "VALID",
    }
    assert {item["owner_id"] for item in rows_of("earning_item")} == {cars[0].owner_id, cars[2].owner_id}


def test_outputs_that_never_agree_fail_the_unit_with_its_reason():
    batch = make_batch(units=1)
    for number in range(7):
        report(batch, float(number + 1))
        validate_ready(now=NOW)
    unit = only_unit(batch)
    assert (unit["state"], unit["reason"]) == ("FAILED", "no 2 of 7 outputs agree")
    assert set(states(batch).values()) == {"INCONCLUSIVE"}
    assert rows_of("earning_item") == []
    assert Batch.objects.get(id=batch.id).status == "finalizing"


def test_errors_count_to_their_maximum_and_then_the_unit_fails_while_the_batch_goes_on():
    batch = make_batch(units=2)
    for reason in ("run_failed", "out_of_memory", "run_failed"):
        car = Car()
        lease = car.lease(1)[0]
        assert lease.replica.ref.unit_number == 0
        car.hand_back(lease, is_error=True, reason=reason)
        validate_ready(now=NOW)
    units = rows_of("unit", batch_id=batch.id)
    assert [unit["state"] for unit in units] == ["FAILED", "OPEN"]
    assert units[0]["reason"] == "3 vehicles could not run it: out_of_memory (1), run_failed (2)"
    report(batch, 1.0, 1.0)
    assert validate_ready(now=NOW) is True
    assert (progress(batch).units_failed, progress(batch).units_validated) == (1, 1)


def test_a_hand_back_costs_no_blame_and_the_unit_is_asked_for_again():
    batch = make_batch(units=1)
    car = Car()
    lease = car.lease(1)[0]
    assert only_unit(batch)["needed"] == 1
    car.hand_back(lease)
    validate_ready(now=NOW)
    assert (only_unit(batch)["needed"], only_unit(batch)["state"]) == (2, "OPEN")
    assert [event["event"] for event in rows_of("unit_event")] == ["returned"]


def test_expired_leases_count_to_their_maximum():
    batch = make_batch(units=1, quorum=1)
    moment = 0.0
    for _ in range(10):
        assert Car().lease(1, at=later(moment))
        moment += lease_seconds() + 11
        assert expire_overdue_leases(now=later(moment)) == 1
        validate_ready(now=later(moment))
    assert (only_unit(batch)["state"], only_unit(batch)["reason"]) == ("FAILED", "10 leases expired without a result")


def test_quorum_one_pays_one_and_quorum_three_waits_for_three():
    single = make_batch(units=1, quorum=1)
    report(single, 1.0)
    validate_ready(now=NOW)
    assert only_unit(single)["state"] == "VALIDATED"
    triple = make_batch(units=1, quorum=3)
    report(triple, 1.0, 1.0)
    validate_ready(now=NOW)
    assert only_unit(triple)["state"] == "OPEN"
    report(triple, 1.0)
    validate_ready(now=NOW)
    assert only_unit(triple)["state"] == "VALIDATED"


def test_a_replica_that_is_not_needed_any_more_is_cancelled_without_blame():
    batch = make_batch(units=1)
    report(batch, 1.0, 5.0)
    validate_ready(now=NOW)
    third = Car()
    assert third.lease(1)
    # A fourth output settles it while the third car still computes.
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("UPDATE unit SET needed = 1 WHERE batch_id = %s", [batch.id])
    report(batch, 1.0)
    validate_ready(now=NOW)
    assert states(batch)[third.owner_id] == "CANCELLED"
    assert third.sync().cancelled == list(third.held)


def test_a_late_output_is_judged_by_the_canonical_one_and_paid_alike():
    batch = make_batch(units=1)
    report(batch, 1.0, 1.0)
    validate_ready(now=NOW)
    late, liar = make_vehicle(), make_vehicle()
    from django.db import connection

    with connection.cursor() as cursor:  # the race: their reports committed just before the verdict did
        for vehicle, value in ((late, 1.00001), (liar, 3.0)):
            data = honest_output(2, value)
            cursor.execute(
                "INSERT INTO replica (batch_id, unit_number, owner_id, vehicle_id, rows, state, leased_at, deadline_at,"
                " committed_at, reported_at, commitment, output_digest, output, output_bytes)"
                " VALUES (%s, 0, %s, %s, 2, 'REPORTED', %s, %s, %s, %s, %s, sha256(%s), %s, %s)",
                [batch.id, vehicle.owner_id, vehicle.id, NOW, later(9), NOW, NOW, b"c", data, data, len(data)],
            )
        cursor.execute("INSERT INTO review (batch_id, unit_number) VALUES (%s, 0)", [batch.id])
    validate_ready(now=NOW)
    assert (states(batch)[late.owner_id], states(batch)[liar.owner_id]) == ("VALID", "INVALID")
    assert late.owner_id in {item["owner_id"] for item in rows_of("earning_item")}
    assert liar.owner_id not in {item["owner_id"] for item in rows_of("earning_item")}


def test_uploaded_outputs_count_only_once_their_bytes_are_here():
    batch = make_batch(units=1)
    uploads = []
    for _ in range(2):
        car = Car()
        lease = car.lease(1)[0]
        car.sync(commitments=[commit(lease, inline=False)])
        uploads.append((car, lease))
    validate_ready(now=NOW)
    assert only_unit(batch)["state"] == "OPEN"
    data = honest_output()
    for car, lease in uploads:
        vehicle = known(car.vehicle)
        assert accept_part(vehicle=vehicle, token=lease.token, offset=0, data=data[:10], now=NOW) == 10
        assert accept_part(vehicle=vehicle, token=lease.token, offset=10, data=data[10:], now=NOW) == len(data)
    validate_ready(now=NOW)
    assert only_unit(batch)["state"] == "VALIDATED"
    assert [row["output"] for row in rows_of("replica")] == [None, None]


def test_different_uploaded_outputs_are_compared_from_the_blob_store():
    batch = make_batch(units=1)
    for value in (1.0, 2.0, 1.00001):
        car = Car()
        lease = car.lease(1)[0]
        car.sync(commitments=[commit(lease, value, inline=False)])
        vehicle = known(car.vehicle)
        accept_part(vehicle=vehicle, token=lease.token, offset=0, data=honest_output(2, value), now=NOW)
        validate_ready(now=NOW)
    assert sorted(states(batch).values()) == ["INVALID", "VALID", "VALID"]


def test_one_owners_two_cars_cannot_make_a_quorum():
    batch = make_batch(units=1)
    owner = make_owner()
    first, second = Car(make_vehicle(owner)), Car(make_vehicle(owner))
    first.lease(1)
    first.report_all()
    assert second.lease(1) == []
    validate_ready(now=NOW)
    assert only_unit(batch)["state"] == "OPEN"
