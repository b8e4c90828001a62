"""A car that wants paid wrong results: what it can learn, refuse, delay and gather, and what comes of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connection, transaction

from tests.engine.audit_rows import (
    AUDIT,
    audits_of,
    deliver_bytes,
    end_replica,
    finish_run,
    make_audited_batch,
    put_replica,
)
from tests.engine.factories import NOW, Car, commit, later, lease_seconds, make_owner, make_vehicle, rows_of
from tests.engine.test_concurrency import run_threads
from tests.engine.test_draws import auditor, open_audit
from tests.engine.trust_rows import commit_result
from workunits.models import AnchorRun, Audit, Batch, TrustEvent, VehiclePresence, VehicleStanding, VehicleTrust
from workunits.pipeline import drain, draws, resolve
from workunits.pipeline.recover import expire_overdue_leases
from workunits.pipeline.report import OfferedReturn
from workunits.pipeline.resolve import escalate_audits, resolve_anchor_runs
from workunits.pipeline.revoke import settle_failures
from workunits.pipeline.trust import fold_trust
from workunits.pipeline.validate import validate_ready
from workunits.store.audits import queue_reviews

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_luck(monkeypatch: pytest.MonkeyPatch) -> None:
    """Units are looked for from the first place on, and what validation draws comes out the same."""
    monkeypatch.setattr(draws, "draw_place", lambda: 0)
    monkeypatch.setattr(drain, "_random", lambda: 0.5)


@pytest.fixture
def anchor_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an anchor be there, as far as the stages can see."""
    monkeypatch.setattr(drain, "is_anchor_alive", lambda _now: True)
    monkeypatch.setattr(resolve, "is_anchor_alive", lambda _now: True)


def due() -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT vehicle_id FROM trust_due ORDER BY 1")
        return [vehicle_id for (vehicle_id,) in cursor.fetchall()]


def overdue():
    return NOW + timedelta(seconds=settings.FLEET.audit_patience_seconds + 1)


def test_leases_that_are_sent_again_come_in_an_order_that_tells_no_audit():
    batch = make_audited_batch(units=8)
    open_audit(batch, Car(), number=5)
    car = auditor(batch)
    assert {lease.replica.ref.unit_number for lease in car.lease(8)} == set(range(8))
    car.held.clear()  # the car says that it never heard of them
    orders = {tuple(lease.replica.ref.unit_number for lease in car.sync(held=[]).leases) for _ in range(30)}
    assert {order[0] for order in orders} != {5}
    assert len(orders) > 20  # of 40,320


def test_an_overdue_audit_that_a_car_is_running_is_left_to_it(anchor_alive):
    batch = make_audited_batch(units=1)
    put_replica(batch, drawn=True, sequence=11)
    validate_ready(now=NOW)
    auditor_car = put_replica(batch, role=AUDIT, state="LEASED")
    assert escalate_audits(now=overdue()) == 0
    assert AnchorRun.objects.count() == 0
    end_replica(batch, auditor_car, "EXPIRED")
    assert escalate_audits(now=overdue()) == 1
    assert (audits_of(batch)[0].needs, AnchorRun.objects.get().reason) == ("anchor", "overdue")


def test_an_overdue_audit_whose_auditor_keeps_back_its_bytes_goes_to_an_anchor(anchor_alive):
    batch = make_audited_batch(units=1)
    put_replica(batch, drawn=True, sequence=11)
    validate_ready(now=NOW)
    put_replica(batch, 7.0, role=AUDIT, state="COMMITTED", bytes_wanted=True)
    assert escalate_audits(now=overdue()) == 1
    assert audits_of(batch)[0].needs == "anchor"


def test_a_commitment_that_is_handed_back_lets_its_vehicle_be_folded():
    make_audited_batch(units=3)
    car = Car()
    first, second = car.lease(2)
    car.sync(commitments=[commit(first, inline=False)])
    car.sync(commitments=[commit(second)])
    validate_ready(now=NOW)
    fold_trust(now=NOW)
    assert (due(), len(rows_of("vehicle_commit"))) == ([], 2)
    car.hand_back(first)
    assert due() == [car.vehicle.id]
    fold_trust(now=NOW)
    assert [row["unit_number"] for row in rows_of("vehicle_commit")] == [second.replica.ref.unit_number]
    third = Car()
    third.hand_back(third.lease(1)[0])
    assert due() == []


@pytest.mark.parametrize("ending", ["handed back", "handed back after its commitment", "lapsed"])
def test_nobody_can_look_through_the_audits_for_one_of_a_friend(ending):
    """A friend would know its input, and give up the others until it is his."""
    batch = make_audited_batch(units=6)
    for number in range(6):
        open_audit(batch, Car(), number=number)
    friend, at = auditor(batch), NOW + timedelta(minutes=1)
    lease = friend.lease(1, at=at)[0]
    if ending == "lapsed":
        at = later(120 + lease_seconds())
        expire_overdue_leases(now=at)
        friend.held.clear()
        assert friend.lease(1, at=at) == []
    else:
        if ending != "handed back":
            at = later(120)
            assert friend.sync(commitments=[commit(lease, inline=False)], at=at).outcomes == [(lease.token, "keep")]
        at += timedelta(minutes=1)
        back = OfferedReturn(token=lease.token, is_error=False, reason="not_wanted")
        answer = friend.sync(returned=[back], want=6, at=at)
        assert (answer.outcomes, answer.leases) == ([(lease.token, "returned")], [])
    rest = timedelta(seconds=settings.FLEET.audit_rest_seconds)
    assert friend.lease(6, at=at + rest / 2) == []
    assert len(auditor(batch).lease(1, at=at + rest / 2)) == 1
    assert len(friend.lease(1, at=at + rest)) == 1


def test_who_hands_back_other_work_gets_audits_with_the_next_sync():
    batch = make_audited_batch(units=3)
    car = auditor(batch)
    primary = car.lease(1)[0]
    open_audit(batch, Car(), number=2)
    back = OfferedReturn(token=primary.token, is_error=False, reason="driving")
    assert car.sync(returned=[back], at=later(60)).outcomes == [(primary.token, "returned")]
    assert 2 in {lease.replica.ref.unit_number for lease in car.lease(3, at=later(120))}


def make_known(batch: Batch, units: int) -> None:
    """Let an anchor have confirmed the first units of a batch."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE unit SET state = 'VALIDATED', canonical_owner_id = 0, decided_at = now(), needed = 0, confirmed = 1"
            " WHERE batch_id = %s AND number < %s",
            [batch.id, units],
        )


def test_a_car_that_holds_up_its_fold_is_not_tried_and_paid_without_end():
    batch = make_audited_batch(units=30)
    make_known(batch, 20)
    car = Car()
    kept = car.lease(1)[0]
    car.sync(commitments=[commit(kept, inline=False)])  # and its bytes never come
    for _ in range(8):
        car.sync(commitments=[commit(lease) for lease in car.lease(3) if lease is not kept])
        fold_trust(now=NOW)
    wanted = 3  # c δ / (1 - δ) = 2.6 units
    assert 0 < sum(row["role"] == 2 for row in rows_of("replica")) <= wanted
    assert {row["role"] for row in rows_of("replica")} == {0, 2}


@pytest.mark.django_db(transaction=True)
def test_known_answers_that_another_car_of_the_owner_is_being_given_are_stepped_over():
    batch = make_audited_batch(units=7)
    make_known(batch, 6)
    owner = make_owner()
    with transaction.atomic():
        first = Car(make_vehicle(owner)).lease(3)
        others: list[int] = []

        def lease(_: int) -> None:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = '5s'")
                others.extend(each.replica.ref.unit_number for each in Car(make_vehicle(owner)).lease(3))
            connection.close()

        run_threads(1, lease)
    assert {each.replica.ref.unit_number for each in first} | set(others) == set(range(6))


def test_drawn_results_that_lapse_cost_and_bring_nothing_and_look_like_the_others():
    batch = make_audited_batch(units=60)
    car = auditor(batch)
    leases = car.lease(60)
    weight = 50 * rows_of("replica")[0]["weight"]
    VehicleTrust.objects.filter(vehicle=car.vehicle).update(weight_microcredits=weight)
    before = list(VehicleTrust.objects.order_by("id").values())
    answer = car.sync(commitments=[commit(lease, 7.0, inline=False) for lease in leases])
    drawn = {row["unit_number"] for row in rows_of("vehicle_commit") if row["drawn"]}
    assert 0 < len(drawn) < 60
    assert {code for _, code in answer.outcomes} == {"upload"}
    expire_overdue_leases(now=later(lease_seconds() + 11))
    validate_ready(now=later(lease_seconds() + 11))
    fold_trust(now=later(lease_seconds() + 11))
    assert (audits_of(batch), TrustEvent.objects.count(), rows_of("earning_item")) == ([], 0, [])
    standing = VehicleStanding.objects.get(vehicle=car.vehicle)
    assert (standing.state, standing.resets, standing.folded_sequence) == ("normal", [], 60)
    assert [row["weight_microcredits"] for row in VehicleTrust.objects.order_by("id").values()] == [
        row["weight_microcredits"] for row in before
    ]
    assert {row["needed"] for row in rows_of("unit", batch_id=batch.id)} == {1}
    # What it is given again is drawn again: whatever it was, that draw is gone.
    again = car.lease(60, at=later(1000))
    car.sync(commitments=[commit(lease, inline=False) for lease in again], at=later(1010))
    assert {row["sequence"] for row in rows_of("vehicle_commit")} == set(range(61, 121))


@pytest.mark.parametrize("ending", ["EXPIRED", "RETURNED"])
def test_an_auditor_that_keeps_back_the_bytes_it_is_asked_for_is_replaced_by_an_anchor_and_not_blamed(
    anchor_alive, ending
):
    batch = make_audited_batch(units=1)
    primary = put_replica(batch, drawn=True, sequence=1)
    validate_ready(now=NOW)
    silent = put_replica(batch, 7.0, role=AUDIT, state="COMMITTED", sequence=1)
    validate_ready(now=NOW)
    assert rows_of("replica", owner_id=silent.owner_id)[0]["bytes_wanted"]
    end_replica(batch, silent, ending)
    validate_ready(now=NOW)
    audit = audits_of(batch)[0]
    assert (audit.needs, AnchorRun.objects.get().reason) == ("anchor", "overdue")
    finish_run(batch)
    resolve_anchor_runs(now=NOW)
    settle_failures(now=NOW)
    assert [(each.vehicle_id, each.reason, each.state) for each in audits_of(batch)] == [
        (primary.id, "drawn", "passed")
    ]
    assert not VehicleStanding.objects.exclude(resets=[]).exists()


def test_lies_that_an_auditor_does_own_up_to_quarantine_it_by_the_mirror_of_the_audits():
    """Every audit is one of the auditor, too; the fifth lie that an anchor finds holds the car back."""
    batch = make_audited_batch(units=5)
    liar = make_vehicle()
    for number in range(5):
        put_replica(batch, drawn=True, sequence=1, unit=number)
        validate_ready(now=NOW)
        commit_result(batch, liar, 7.0, unit=number, role=AUDIT)
        validate_ready(now=NOW)
        finish_run(batch, unit=number)
        resolve_anchor_runs(now=NOW)
        assert settle_failures(now=NOW) == 1
    assert [(audit.sequence, audit.state) for audit in audits_of(batch, reason="auditing")] == [
        (number, "failed") for number in range(1, 6)
    ]
    standing = VehicleStanding.objects.get(vehicle=liar)
    assert (standing.state, len(standing.resets)) == ("quarantined", 5)
    assert {audit.state for audit in audits_of(batch, reason="drawn")} == {"passed"}
    assert Car(liar).lease(1) == []


def test_commitments_that_come_to_nothing_under_ever_new_classes_leave_nothing_to_be_read():
    make_audited_batch(units=12)
    car = Car()
    for number in range(4):
        car.comparison_class = f"class {number}"
        leases = car.lease(3)
        car.sync(commitments=[commit(lease, inline=False) for lease in leases])
        for lease in leases:
            car.hand_back(lease)
        fold_trust(now=NOW)
    assert VehicleStanding.objects.get(vehicle=car.vehicle).folded_sequence == 12
    assert VehicleTrust.objects.count() == 0


def test_without_an_anchor_nobody_holds_up_an_audit_by_keeping_back_his_bytes():
    far = overdue() + timedelta(seconds=settings.FLEET.audit_delay_seconds)
    batch = make_audited_batch(units=1)
    put_replica(batch, drawn=True, sequence=1)
    validate_ready(now=NOW)
    silent = put_replica(batch, 7.0, role=AUDIT, state="COMMITTED", sequence=1)
    validate_ready(now=NOW)
    assert rows_of("replica", owner_id=silent.owner_id)[0]["bytes_wanted"]
    assert (escalate_audits(now=later(3600)), escalate_audits(now=far)) == (0, 0)
    validate_ready(now=far)
    assert rows_of("unit", batch_id=batch.id)[0]["needed"] == 1
    escalate_audits(now=far)
    assert rows_of("review", batch_id=batch.id) == []  # it is not looked at again and again
    put_replica(batch, role=AUDIT, sequence=1)
    validate_ready(now=NOW)
    assert [audit.state for audit in audits_of(batch, reason="drawn")] == ["passed"]
    assert rows_of("unit", batch_id=batch.id)[0]["needed"] == 0
    deliver_bytes(batch, silent, 7.0)  # he may still be right: an anchor will say
    validate_ready(now=NOW)
    assert AnchorRun.objects.get().reason == "dispute"


def test_where_an_anchor_is_there_an_audit_waits_for_the_bytes_that_were_asked_for(anchor_alive):
    batch = make_audited_batch(units=1)
    put_replica(batch, drawn=True, sequence=1)
    validate_ready(now=NOW)
    put_replica(batch, 7.0, role=AUDIT, state="COMMITTED", sequence=1)
    for at in (NOW, later(86_400)):
        queue_reviews(batch.id, [0])
        validate_ready(now=at)
        assert rows_of("unit", batch_id=batch.id)[0]["needed"] == 0


def test_an_anchor_that_comes_back_takes_over_the_young_that_were_left_to_cars_meanwhile(monkeypatch):
    """Whoever waits for an anchor to be away, or sees to it, is not audited by a friend for that."""
    batch = make_audited_batch(units=2)
    put_replica(batch, drawn=True, young=True, sequence=1)
    put_replica(batch, drawn=True, sequence=1, unit=1)
    validate_ready(now=NOW)
    assert {audit.needs for audit in audits_of(batch)} == {"car"}
    assert escalate_audits(now=later(60)) == 0
    monkeypatch.setattr(drain, "is_anchor_alive", lambda _now: True)
    monkeypatch.setattr(resolve, "is_anchor_alive", lambda _now: True)
    assert escalate_audits(now=later(120)) == 1
    assert {audit.reason: audit.needs for audit in audits_of(batch)} == {"young": "anchor", "drawn": "car"}
    run = AnchorRun.objects.get()
    assert (run.unit_number, run.reason, run.state) == (0, "young", "waiting")
    assert escalate_audits(now=later(180)) == 0


def test_nobody_gathers_more_audits_than_he_can_run_soon(settings):
    settings.FLEET = replace(settings.FLEET, audit_held_work_seconds=3 * 50 / (50 * 1000))  # three of 50 microcredits
    batch = make_audited_batch(units=12)
    for number in range(10):
        open_audit(batch, Car(), number=number)
    car = auditor(batch)
    first = car.lease(8)
    assert sorted(row["role"] for row in rows_of("replica")) == [0, 0, 1, 1, 1]
    assert car.lease(8, at=later(60)) == []
    audits = [lease for lease in first if lease.replica.ref.unit_number < 10]
    car.sync(commitments=[commit(lease) for lease in audits[:2]], at=later(120))
    assert len(car.lease(8, at=later(180))) == 2
    assert VehiclePresence.objects.get(vehicle=car.vehicle).audits_held == 3


def test_a_car_that_disputes_every_result_it_audits_is_given_no_more_than_three():
    batch = make_audited_batch(units=6)
    for number in range(6):
        open_audit(batch, Car(), number=number)
    liar = auditor(batch)
    assert len(liar.lease(2)) == 2
    Audit.objects.filter(unit_number__in=(0, 1, 2)).update(auditor_vehicle_id=liar.vehicle.id, stage="tensors")
    assert liar.lease(6, at=later(60)) == []
    assert len(auditor(batch).lease(1, at=later(60))) == 1
    Audit.objects.filter(unit_number=0).update(state="passed", resolved_at=NOW)
    assert len(liar.lease(1, at=later(120))) == 1
