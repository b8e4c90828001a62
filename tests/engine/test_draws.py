"""The draw of audits inside a sync: numbering, probability, roles, and who is given what."""

from __future__ import annotations

import random
import threading
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db import connection
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.factories import NOW, Car, commit, make_batch, make_owner, make_vehicle, rows_of
from workunits.domain.audits.draws import DrawRule, audit_probability, is_young
from workunits.domain.audits.levels import LEVEL_NUMBER, VerificationLevel
from workunits.models import Audit, Batch, OwnerCluster, Project, VehiclePresence, VehicleStanding, VehicleTrust
from workunits.pipeline import draws
from workunits.pipeline.dispatch import SyncConflict
from workunits.store import leases as leases_store
from workunits.store.db import call_function

pytestmark = pytest.mark.django_db
STANDARD = LEVEL_NUMBER[VerificationLevel.STANDARD]
CLASS = "cpu-fp32"


@pytest.fixture(autouse=True)
def from_the_first_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """The few units of these tests are all near the start; from a random place on a sync would often miss them."""
    monkeypatch.setattr(draws, "draw_place", lambda: 0)


def make_audited(**options):
    batch = make_batch(quorum=1, **options)
    Batch.objects.filter(id=batch.id).update(level=VerificationLevel.STANDARD.value)
    batch.refresh_from_db()
    return batch


def believe(car: Car, batch: Batch, weight: int, *, at=NOW) -> None:
    comparison_class = VehiclePresence.objects.get(vehicle=car.vehicle).comparison_class
    for model_id, in_class in ((0, ""), (0, comparison_class), (batch.model_id, comparison_class)):
        VehicleTrust.objects.create(
            vehicle=car.vehicle,
            level=STANDARD,
            model_id=model_id,
            comparison_class=in_class,
            weight_microcredits=weight,
            weighed_at=at,
            last_commit_at=at,
        )


def commits() -> list[tuple[int, int, bool, float]]:
    return [
        (row["sequence"], row["unit_number"], row["drawn"], round(row["probability"], 6))
        for row in rows_of("vehicle_commit")
    ]


def test_a_new_vehicle_is_always_audited_and_its_commitments_are_numbered_in_order():
    make_audited(units=4)
    car = Car()
    car.lease(4)
    car.report_all()
    assert commits() == [(1, 0, True, 1.0), (2, 1, True, 1.0), (3, 2, True, 1.0), (4, 3, True, 1.0)]
    assert [(row["sequence"], row["drawn"], row["young"], row["role"]) for row in rows_of("replica")] == [
        (number, True, True, 0) for number in (1, 2, 3, 4)
    ]
    assert VehiclePresence.objects.get().commit_sequence == 4


def test_a_commitment_that_is_said_again_draws_nothing_and_has_no_second_number():
    make_audited(units=1)
    car = Car()
    lease = car.lease(1)[0]
    for _ in range(3):
        car.sync(commitments=[commit(lease)])
    assert [row[0] for row in commits()] == [1]


def test_a_quorum_has_no_numbers_and_no_draws():
    make_batch(units=2)
    car = Car()
    car.lease(2)
    car.report_all()
    assert commits() == []
    assert {(row["sequence"], row["drawn"]) for row in rows_of("replica")} == {(None, False)}


def test_the_probability_falls_with_the_weight_that_was_accepted():
    batch = make_audited(units=3)
    car = Car()
    car.lease(3)
    weight = rows_of("replica")[0]["weight"]
    believe(car, batch, 1000 * weight)
    car.report_all()
    assert {row[3] for row in commits()} == {round(50 / (0.95 * (1000 + 51)), 6)}
    assert {row["young"] for row in rows_of("replica")} == {False}


def test_trust_halves_in_ninety_days_and_is_gone_after_thirty_idle_ones():
    batch = make_audited(units=2)
    car = Car()
    leases = car.lease(2)
    weight = rows_of("replica")[0]["weight"]
    believe(car, batch, 2000 * weight, at=NOW - timedelta(days=90))
    VehicleTrust.objects.update(last_commit_at=NOW)
    car.sync(commitments=[commit(leases[0])])
    VehicleTrust.objects.update(last_commit_at=NOW - timedelta(days=30))
    car.sync(commitments=[commit(leases[1])])
    assert [row[3] for row in commits()] == [round(50 / (0.95 * (1000 + 51)), 6), 1.0]


def test_a_watched_vehicle_is_audited_whatever_it_has_earned():
    batch = make_audited(units=1)
    car = Car()
    car.lease(1)
    believe(car, batch, 10**12)
    VehicleStanding.objects.create(vehicle=car.vehicle, state="watched")
    car.report_all()
    assert [(row[2], row[3]) for row in commits()] == [(True, 1.0)]


def test_a_quarantined_vehicle_gets_no_work():
    make_audited(units=1)
    car = Car()
    VehicleStanding.objects.create(vehicle=car.vehicle, state="quarantined", quarantined_at=NOW)
    assert car.lease(1) == []


def test_a_reset_between_reading_and_writing_stops_the_sync_and_changes_nothing(monkeypatch):
    make_audited(units=1)
    car = Car()
    lease = car.lease(1)[0]
    before = rows_of("replica"), VehiclePresence.objects.values().get()
    call = call_function

    def reset_first(name, parameters):
        VehiclePresence.objects.update(trust_life=2)
        return call(name, parameters)

    monkeypatch.setattr(leases_store, "call_function", reset_first)
    with pytest.raises(SyncConflict):
        car.sync(commitments=[commit(lease)])
    assert (rows_of("replica"), commits()) == (before[0], [])
    assert VehiclePresence.objects.values().get() == {**before[1], "trust_life": 2}


@given(
    weight=st.integers(1, 10**12),
    reserve=st.floats(0, 1e15),
    own_factor=st.floats(0.9, 1.2),
    floor=st.floats(0.0, 1.0),
    certain_above=st.one_of(st.floats(0, 1e12), st.just(float("inf"))),
    young_above=st.one_of(st.floats(0, 1e12), st.just(float("inf"))),
)
@settings(max_examples=60)
def test_the_database_computes_the_probability_of_the_rule(
    weight, reserve, own_factor, floor, certain_above, young_above
):
    rule = DrawRule(
        reserve=reserve, own_factor=own_factor, floor=floor, certain_above=certain_above, young_above=young_above
    )
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT CASE WHEN weight > %s::double precision THEN 1.0 ELSE least(1.0, greatest(%s::double precision,"
            " weight / nullif(%s::double precision + %s::double precision * weight, 0))) END,"
            " weight > %s::double precision FROM (VALUES (%s::bigint)) AS replica (weight)",
            [certain_above, floor, reserve, own_factor, young_above, weight],
        )
        assert cursor.fetchone() == (pytest.approx(audit_probability(rule, weight)), is_young(rule, weight))


def test_as_many_are_drawn_as_the_probability_says(monkeypatch):
    monkeypatch.setattr(draws, "_random", random.Random(7))
    batch = make_audited(units=2000)
    car = Car()
    car.lease(1)
    believe(car, batch, 500 * rows_of("replica")[0]["weight"])
    while car.held:
        car.report_all(want=100)
    drawn = sum(row["drawn"] for row in rows_of("vehicle_commit"))
    # p = 50 / (0.95 * (500 + 51)) = 0.0955; 2000 draws have a standard deviation of 13.1.
    assert abs(drawn - 2000 * 50 / (0.95 * 551)) < 4 * 13.1


def test_nobody_gets_what_one_of_his_cluster_has():
    make_batch(units=1, quorum=3)
    owners = [make_owner() for _ in range(3)]
    for owner in owners[:2]:
        OwnerCluster.objects.create(owner=owner, cluster_id=owners[0].id, computed_at=NOW)
    first, friend, stranger = (Car(make_vehicle(owner)) for owner in owners)
    assert len(first.lease(1)) == 1
    assert friend.lease(1) == []
    assert len(stranger.lease(1)) == 1


def test_a_researchers_batch_with_audits_is_not_offered_to_cars_of_his_own_cluster():
    batch = make_audited(units=3)
    owners = [make_owner() for _ in range(2)]
    for owner in owners:
        OwnerCluster.objects.create(owner=owner, cluster_id=owners[0].id, computed_at=NOW)
    Project.objects.get(id=batch.project_id).members.add(owners[0].user)
    assert Car(make_vehicle(owners[0])).lease(1) == []
    assert Car(make_vehicle(owners[1])).lease(1) == []
    assert len(Car().lease(1)) == 1
    Batch.objects.update(level=VerificationLevel.QUORUM.value)
    assert len(Car(make_vehicle(owners[1])).lease(1)) == 1


def open_audit(batch: Batch, car: Car, number: int = 0, **facts) -> Audit:
    """A believed result of `car` whose unit is to be run again."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE unit SET state = 'VALIDATED', canonical_owner_id = %s, decided_at = now(), needed = 1,"
            " urgent = true WHERE batch_id = %s AND number = %s",
            [car.vehicle.owner_id, batch.id, number],
        )
    return Audit.objects.create(
        **{
            "batch": batch, "unit_number": number, "vehicle": car.vehicle, "owner_id": car.vehicle.owner_id,
            "sequence": 1, "level": STANDARD, "weight_microcredits": 1, "reason": "drawn", "needs": "car",
            "created_at": NOW, "opens_at": NOW, "primary_class": "other", **facts,
        }
    )  # fmt: skip


def auditor(batch: Batch, *, weight: int = 10**12) -> Car:
    """A car that is believed, and that last called long enough ago."""
    car = Car()
    car.sync()
    believe(car, batch, weight)
    VehiclePresence.objects.filter(vehicle=car.vehicle).update(last_seen_at=NOW - timedelta(hours=1))
    return car


def test_an_audit_goes_to_a_believed_car_once_it_is_open_and_looks_like_any_lease():
    batch = make_audited(units=2)
    primary = Car()
    primary.lease(1)
    primary.report_all()
    number = rows_of("replica")[0]["unit_number"]
    open_audit(batch, primary, number, opens_at=NOW + timedelta(minutes=5))
    assert [lease.replica.ref.unit_number for lease in auditor(batch).lease(1)] == [1 - number]
    late = auditor(batch)
    (lease,) = late.lease(1, at=NOW + timedelta(minutes=5))
    assert (lease.replica.ref.unit_number, rows_of("replica", owner_id=late.vehicle.owner_id)[0]["role"]) == (number, 1)
    assert lease.deadline_seconds == 900.0
    assert primary.lease(1) == []


@pytest.mark.parametrize(
    ("facts", "is_given"),
    [
        ({}, True),
        ({"needs": "anchor"}, False),
        ({"needs": "other_class"}, True),
        ({"needs": "other_class", "primary_class": "same"}, False),
    ],
)
def test_an_audit_is_given_to_whom_it_needs(facts, is_given):
    batch = make_audited(units=1)
    primary, car = Car(), auditor(batch)
    own = VehiclePresence.objects.get(vehicle=car.vehicle).comparison_class
    if facts.get("primary_class") == "same":
        facts = {**facts, "primary_class": own}
    open_audit(batch, primary, **facts)
    assert bool(car.lease(1)) is is_given


@pytest.mark.parametrize(
    ("seconds", "drawn", "is_given"),
    [(0, 0.0, False), (4, 0.5, False), (5, 0.5, True), (9, 0.999, False), (9.6, 0.999, True)],
)
def test_a_car_that_calls_often_gets_no_more_audits_and_cannot_tell_when_it_gets_none(
    monkeypatch, seconds, drawn, is_given
):
    batch = make_audited(units=1)
    open_audit(batch, Car())
    car = auditor(batch)
    VehiclePresence.objects.filter(vehicle=car.vehicle).update(last_seen_at=NOW - timedelta(seconds=seconds))
    monkeypatch.setattr(draws, "_random", SimpleNamespace(random=lambda: drawn, randrange=lambda _: 0))
    assert bool(car.lease(1)) is is_given


def test_a_young_car_audits_only_what_nobody_else_has_taken():
    batch = make_audited(units=1)
    open_audit(batch, Car())
    young = Car()
    assert young.lease(1) == []
    assert len(young.lease(1, at=NOW + timedelta(minutes=16))) == 1


def test_a_young_car_is_tried_with_known_answers_first_and_the_unit_is_not_used_up():
    batch = make_audited(units=6)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE unit SET state = 'VALIDATED', canonical_owner_id = 0, decided_at = now(), needed = 0, confirmed = 1"
            " WHERE batch_id = %s AND number < 2",
            [batch.id],
        )
    car = Car()
    roles: Counter[int] = Counter()
    for _ in range(3):
        for lease in car.lease(2):
            roles[rows_of("replica", unit_number=lease.replica.ref.unit_number)[0]["role"]] += 1
    assert roles == {2: 2, 0: 4}
    assert {row["needed"] for row in rows_of("unit") if row["number"] < 2} == {0}
    believed = auditor(batch)
    believed.lease(6)
    assert {row["role"] for row in rows_of("replica", owner_id=believed.vehicle.owner_id)} <= {0}


def test_a_rerun_without_its_bytes_is_kept_until_they_are_wanted():
    batch = make_audited(units=1)
    open_audit(batch, Car())
    car = auditor(batch)
    (lease,) = car.lease(1)
    offer = replace(commit(lease, inline=False), sketch=bytes(256))
    answer = car.sync(commitments=[offer])
    assert answer.outcomes == [(lease.token, "keep")]
    assert answer.to_review
    (row,) = rows_of("replica")
    assert (row["state"], bytes(row["sketch"]), row["drawn"]) == ("COMMITTED", bytes(256), False)
    assert row["deadline_at"] == NOW + timedelta(hours=48)
    assert car.sync(commitments=[offer]).outcomes == [(lease.token, "keep")]
    with connection.cursor() as cursor:
        cursor.execute("UPDATE replica SET bytes_wanted = true")
    assert car.sync(commitments=[offer]).outcomes == [(lease.token, "upload")]
    assert [row[0] for row in commits()] == [1]


def test_too_much_work_that_waits_for_audits_brings_no_more_of_that_level():
    batch = make_audited(units=1)
    other = make_batch(units=1)
    car = Car()
    open_audit(make_audited(units=1), car, weight_microcredits=10**15)
    assert [lease.replica.ref.batch_id for lease in car.lease(5)] == [other.id]
    assert batch.id not in {lease.replica.ref.batch_id for lease in car.held.values()}


@pytest.mark.django_db(transaction=True)
def test_sixteen_syncs_at_once_never_share_a_number():
    make_audited(units=64)
    cars = [Car() for _ in range(16)]
    for car in cars:
        car.lease(4)

    def report(car: Car) -> None:
        car.report_all()
        connection.close()

    threads = [threading.Thread(target=report, args=(car,)) for car in cars]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers = Counter((row["vehicle_id"], row["sequence"]) for row in rows_of("vehicle_commit"))
    assert len(numbers) == 64
    assert {sequence for _, sequence in numbers} == {1, 2, 3, 4}
