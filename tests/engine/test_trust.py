"""Trust on the database: what a fold believes, what it makes final, and what is audited by force."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connection

from tests.engine.audit_rows import AUDIT, KNOWN, audits_of, end_replica, finish_run, make_audited_batch
from tests.engine.factories import NOW, Car, commit, known, later, lease_seconds, make_vehicle, rows_of
from tests.engine.test_concurrency import run_threads
from tests.engine.trust_rows import commit_result, kept_commits, outcomes_of, units_of
from workunits.models import (
    AccountBalance,
    AnchorMachine,
    AnchorRun,
    Batch,
    BatchProgress,
    TrustEvent,
    Vehicle,
    VehicleStanding,
    VehicleTrust,
)
from workunits.pipeline import drain, trust
from workunits.pipeline.credit import settle_credit
from workunits.pipeline.oversight import quarantine_vehicle
from workunits.pipeline.recover import cancel_batches, expire_overdue_leases
from workunits.pipeline.resolve import resolve_anchor_runs
from workunits.pipeline.revoke import apply_revocations, settle_failures
from workunits.pipeline.trust import fold_trust, force_audits
from workunits.pipeline.validate import validate_ready

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_luck(monkeypatch):
    """Draws come out the same: no anchor floor, no other class."""
    monkeypatch.setattr(drain, "_random", lambda: 0.5)


def weights(vehicle):
    return {
        (row.level, row.model_id, row.comparison_class): row.weight_microcredits
        for row in VehicleTrust.objects.filter(vehicle=vehicle)
    }


def due():
    with connection.cursor() as cursor:
        cursor.execute("SELECT vehicle_id FROM trust_due ORDER BY 1")
        return [vehicle_id for (vehicle_id,) in cursor.fetchall()]


def pass_audit(batch, unit, vehicle=None):
    """Let another car agree with a unit's result."""
    commit_result(batch, vehicle or make_vehicle(), unit=unit, role=AUDIT, state="COMMITTED")
    validate_ready(now=NOW)


def test_believed_results_are_counted_for_level_class_and_model_up_to_the_first_open_audit():
    batch, car = make_audited_batch(units=4), make_vehicle()
    for unit in range(4):
        commit_result(batch, car, unit=unit, drawn=unit == 2)
    validate_ready(now=NOW)
    assert fold_trust(now=NOW) == 1
    assert weights(car) == {(2, 0, ""): 100, (2, 0, "x86"): 100, (2, batch.model_id, "x86"): 100}
    standing = VehicleStanding.objects.get(vehicle=car)
    assert (standing.folded_sequence, due()) == (2, [])
    assert {row.weight for row in known(car).trust} == {100}
    assert outcomes_of(batch, car) == {}
    pass_audit(batch, 2)
    assert fold_trust(now=NOW) == 2
    assert weights(car)[(2, 0, "")] == 200


def test_a_passed_audit_makes_final_what_was_committed_before_it_and_nothing_behind_it():
    batch, car = make_audited_batch(units=4), make_vehicle()
    for unit in range(4):
        commit_result(batch, car, unit=unit, drawn=unit == 2)
    validate_ready(now=NOW)
    pass_audit(batch, 2)
    fold_trust(now=later(5))
    assert [unit["final_at"] for unit in units_of(batch)] == [later(5)] * 3 + [None]
    assert dict.fromkeys((0, 1, 2), "final") == outcomes_of(batch, car)
    progress = BatchProgress.objects.get(batch=batch)
    assert (progress.units_final, progress.rows_final, progress.rows_validated) == (3, 6, 8)
    assert kept_commits(car) == [4]
    row = VehicleTrust.objects.get(vehicle=car, level=2, model_id=0, comparison_class="")
    assert (row.final_sequence, row.provisional_since) == (3, NOW)


def test_folding_again_changes_nothing():
    batch, car = make_audited_batch(units=3), make_vehicle()
    for unit in range(3):
        commit_result(batch, car, unit=unit, drawn=unit == 1)
    validate_ready(now=NOW)
    pass_audit(batch, 1)
    fold_trust(now=NOW)
    fold_trust(now=NOW)

    def everything():
        return (
            list(VehicleTrust.objects.order_by("id").values()),
            list(VehicleStanding.objects.order_by("vehicle_id").values()),
            rows_of("unit"),
            rows_of("earning_outcome"),
            rows_of("vehicle_commit"),
            list(BatchProgress.objects.values()),
        )

    before = everything()
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO trust_due SELECT DISTINCT vehicle_id FROM replica ON CONFLICT DO NOTHING")
    assert fold_trust(now=later(60)) == 2
    assert everything() == before


def test_an_audit_of_an_earlier_commitment_that_is_open_holds_back_what_passed_after_it():
    batch, car = make_audited_batch(units=2), make_vehicle()
    for unit in range(2):
        commit_result(batch, car, unit=unit, drawn=True)
    validate_ready(now=NOW)
    pass_audit(batch, 1)
    fold_trust(now=NOW)
    assert (outcomes_of(batch, car), weights(car)) == ({}, {})
    pass_audit(batch, 0)
    fold_trust(now=NOW)
    assert weights(car)[(2, 0, "")] == 100
    assert all(unit["final_at"] for unit in units_of(batch))


def test_audits_earn_no_trust_and_known_answers_do():
    batch, car = make_audited_batch(units=2), make_vehicle()
    for unit in range(2):
        commit_result(batch, make_vehicle(), unit=unit, drawn=unit == 0)
    validate_ready(now=NOW)
    commit_result(batch, car, unit=0, role=AUDIT, state="COMMITTED")
    validate_ready(now=NOW)
    fold_trust(now=NOW)
    assert set(weights(car).values()) == {0}
    commit_result(batch, car, unit=1, role=KNOWN, state="COMMITTED")
    validate_ready(now=NOW)
    fold_trust(now=NOW)
    assert set(weights(car).values()) == {50}


def test_commitments_that_came_to_nothing_hold_nobody_up_and_are_forgotten():
    batch, car = make_audited_batch(units=3), make_vehicle()
    commit_result(batch, car, unit=0, state="COMMITTED")
    commit_result(batch, car, unit=1)
    validate_ready(now=NOW)
    fold_trust(now=NOW)
    assert weights(car) == {}
    end_replica(batch, car, "EXPIRED", unit=0)
    commit_result(batch, car, unit=2)
    validate_ready(now=NOW)
    fold_trust(now=NOW)
    assert (weights(car)[(2, 0, "")], kept_commits(car)) == (100, [2, 3])


def test_a_batch_that_is_gone_does_not_block_a_fold():
    gone, batch, car = make_audited_batch(units=1), make_audited_batch(units=1), make_vehicle()
    commit_result(gone, car)
    commit_result(batch, car)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM replica WHERE batch_id = %s", [gone.id])
    validate_ready(now=NOW)
    fold_trust(now=NOW)
    assert (weights(car)[(2, 0, "")], kept_commits(car)) == (50, [2])


def test_trust_of_one_level_says_nothing_at_another():
    economy, strict, car = make_audited_batch("economy", units=1), make_audited_batch("strict", units=1), make_vehicle()
    commit_result(economy, car)
    commit_result(strict, car)
    validate_ready(now=NOW)
    fold_trust(now=NOW)
    assert {level: weight for (level, model, _), weight in weights(car).items() if not model} == {1: 50, 3: 50}


def test_a_vehicle_that_needs_no_anchor_any_more_is_said_to_be_qualified_once():
    batch, car = make_audited_batch(units=5), make_vehicle()
    for unit in range(5):
        commit_result(batch, car, unit=unit)
        validate_ready(now=NOW)
        fold_trust(now=NOW)
    (event,) = TrustEvent.objects.filter(vehicle=car, kind="qualified")
    # c δ w / (1 - δ) is 131.6 for a result of 50.
    assert (event.weight_before, event.weight_after, event.sequence) == (100, 150, 3)


def test_what_was_provisional_for_too_long_is_audited_by_force_at_its_latest_result():
    batch, car = make_audited_batch(units=5), make_vehicle()
    for unit in range(3):
        commit_result(batch, car, unit=unit)
    validate_ready(now=NOW)
    fold_trust(now=NOW)
    hold = settings.FLEET.hold_seconds
    assert force_audits(now=later(hold - 1)) == 0
    assert force_audits(now=later(hold)) == 1
    assert force_audits(now=later(hold)) == 0
    (audit,) = audits_of(batch)
    assert (audit.reason, audit.needs, audit.sequence, audit.unit_number) == ("forced", "car", 3, 2)
    assert later(hold) <= audit.opens_at <= later(hold) + timedelta(seconds=settings.FLEET.audit_delay_seconds)
    assert [unit["needed"] for unit in units_of(batch)] == [0, 0, 1, 1, 1]
    pass_audit(batch, 2)
    fold_trust(now=later(hold))
    assert outcomes_of(batch, car) == {0: "final", 1: "final", 2: "final"}
    assert VehicleTrust.objects.get(vehicle=car, model_id=0, comparison_class="").provisional_since is None


def test_a_forced_audit_of_an_ended_batch_waits_for_an_anchor():
    batch, car = make_audited_batch(units=1), make_vehicle()
    commit_result(batch, car)
    validate_ready(now=NOW)
    fold_trust(now=NOW)
    Batch.objects.filter(id=batch.id).update(status="completed", ended_at=NOW, outcome="full")
    at = later(settings.FLEET.hold_seconds)
    assert force_audits(now=at) == 0
    AnchorMachine.objects.create(name="anchor", seen_at=at)
    assert force_audits(now=at) == 1
    assert audits_of(batch)[0].needs == "anchor"


@pytest.mark.django_db(transaction=True)
def test_workers_that_fold_at_once_count_each_result_once():
    batch, cars = make_audited_batch(units=30), [make_vehicle() for _ in range(10)]
    for unit in range(30):
        commit_result(batch, cars[unit % 10], unit=unit, drawn=unit >= 20)
    validate_ready(now=NOW)
    for unit in range(20, 30):
        pass_audit(batch, unit)

    def fold(_: int) -> None:
        for _ in range(5):
            fold_trust(now=NOW)

    run_threads(4, fold)
    fold_trust(now=NOW)
    fold_trust(now=NOW)
    assert [weights(car)[(2, 0, "")] for car in cars] == [150] * 10
    progress = BatchProgress.objects.get(batch=batch)
    assert (progress.units_final, progress.rows_final) == (30, 60)
    assert len(rows_of("earning_outcome", batch_id=batch.id)) == 40
    assert (due(), rows_of("vehicle_commit")) == ([], [])


def test_a_commitment_that_lapses_or_is_cancelled_lets_its_vehicle_be_folded():
    batch, lapsing, cancelled = make_audited_batch(units=2), Car(), make_vehicle()
    lease = lapsing.lease(1)[0]
    lapsing.sync(commitments=[commit(lease, inline=False)])
    commit_result(batch, cancelled, unit=1, state="COMMITTED")
    expire_overdue_leases(now=later(lease_seconds() + 11))
    assert due() == [lapsing.vehicle.id]
    Batch.objects.filter(id=batch.id).update(status="cancelling")
    cancel_batches(now=NOW)
    assert due() == sorted([lapsing.vehicle.id, cancelled.id])
    fold_trust(now=NOW)
    assert (due(), rows_of("vehicle_commit")) == ([], [])


def test_a_watched_vehicle_is_a_normal_one_once_its_resets_are_long_past():
    batch, car = make_audited_batch(units=2), make_vehicle()
    VehicleStanding.objects.create(vehicle=car, state="watched", resets=[NOW, NOW, NOW])
    for unit, days, state in ((0, 29, "watched"), (1, 31, "normal")):
        commit_result(batch, car, unit=unit)
        validate_ready(now=NOW)
        fold_trust(now=NOW + timedelta(days=days))
        assert VehicleStanding.objects.get(vehicle=car).state == state


def abandon(batch, unit):
    """Let a new vehicle commit to two units, lose the second's audit and never come again; return it."""
    car = make_vehicle()
    commit_result(batch, car, unit=unit)
    validate_ready(now=NOW)
    fold_trust(now=NOW)
    commit_result(batch, car, 7.0, unit=unit + 1, drawn=True)
    validate_ready(now=NOW)
    finish_run(batch, 1.0, unit=unit + 1)
    resolve_anchor_runs(now=NOW)
    settle_failures(now=NOW)
    apply_revocations(now=NOW)
    fold_trust(now=NOW)
    return car


def test_what_was_taken_back_is_forgotten_also_where_it_was_believed_before():
    batch = make_audited_batch(units=2)
    car = abandon(batch, 0)
    assert kept_commits(car) == []
    row = VehicleTrust.objects.get(vehicle=car, model_id=0, comparison_class="")
    assert (row.weight_microcredits, row.provisional_since) == (0, None)


def test_identities_that_were_thrown_away_do_not_keep_honest_results_from_being_audited_by_force(monkeypatch):
    monkeypatch.setattr(trust, "HELD_PER_SWEEP", 3)
    batch, honest = make_audited_batch(units=9), make_vehicle()
    for unit in (0, 2, 4, 6):
        abandon(batch, unit)
    commit_result(batch, honest, unit=8, at=later(1))
    validate_ready(now=later(1))
    fold_trust(now=later(1))
    assert force_audits(now=later(settings.FLEET.hold_seconds + 1)) == 1
    assert [audit.vehicle_id for audit in audits_of(batch, state="open")] == [honest.id]


def test_results_that_nobody_can_audit_do_not_keep_others_from_being_audited_by_force(monkeypatch):
    monkeypatch.setattr(trust, "HELD_PER_SWEEP", 1)
    ended, batch, honest = make_audited_batch(units=4), make_audited_batch(units=1), make_vehicle()
    for unit in range(4):
        commit_result(ended, make_vehicle(), unit=unit)
    commit_result(batch, honest, at=later(1))
    validate_ready(now=later(1))
    fold_trust(now=later(1))
    Batch.objects.filter(id=ended.id).update(status="cancelled", outcome="full", ended_at=NOW)
    held = settings.FLEET.hold_seconds + 1
    opened = [force_audits(now=later(held + sweep)) for sweep in range(60)]
    assert sum(opened) == 1
    assert [audit.vehicle_id for audit in audits_of(batch)] == [honest.id]
    assert due() == []


def test_a_commitment_that_is_handed_back_lets_its_vehicle_be_folded():
    make_audited_batch(units=2)
    car = Car()
    lost, kept = sorted(car.lease(2), key=lambda lease: lease.replica.ref.unit_number)
    car.sync(commitments=[commit(lost, inline=False), commit(kept)])
    validate_ready(now=NOW)
    fold_trust(now=NOW)
    assert due() == []
    car.hand_back(lost)
    assert due() == [car.vehicle.id]


def hold(batch, car, units):
    """Let a vehicle commit to some units that no draw chose, and the hold window pass; return the time then."""
    for unit in range(units):
        commit_result(batch, car, unit=unit)
    validate_ready(now=NOW)
    fold_trust(now=NOW)
    return later(settings.FLEET.hold_seconds)


def test_no_second_audit_is_forced_while_the_outcome_of_the_first_waits_to_be_folded():
    batch, car = make_audited_batch(units=2), make_vehicle()
    at = hold(batch, car, 2)
    assert force_audits(now=at) == 1
    pass_audit(batch, 1)
    assert force_audits(now=at) == 0
    fold_trust(now=at)
    assert outcomes_of(batch, car) == {0: "final", 1: "final"}


def test_what_waits_for_an_earlier_audit_of_another_level_is_audited_by_force_once():
    economy, batch, car = make_audited_batch("economy", units=1), make_audited_batch(units=2), make_vehicle()
    at = hold(batch, car, 2)
    commit_result(economy, car, drawn=True)
    validate_ready(now=NOW)
    fold_trust(now=NOW)
    # As if it had been committed to before the others.
    VehicleStanding.objects.update(folded_sequence=0)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE vehicle_commit SET sequence = sequence + 10 WHERE sequence < 3")
        cursor.execute("UPDATE replica SET sequence = sequence + 10 WHERE sequence < 3")
    VehicleStanding.objects.update(folded_sequence=12)
    assert force_audits(now=at) == 1
    (audit,) = audits_of(batch)
    assert audit.sequence == 12
    pass_audit(batch, 1)
    for _ in range(3):
        fold_trust(now=at)
        assert force_audits(now=at) == 0
    assert outcomes_of(batch, car) == {}
    pass_audit(economy, 0)
    fold_trust(now=at)
    assert outcomes_of(batch, car) == {0: "final", 1: "final"}


def test_a_forced_audit_of_what_an_anchor_has_run_needs_no_other_run():
    batch, car = make_audited_batch(units=1), make_vehicle()
    commit_result(batch, car)
    validate_ready(now=NOW)
    finish_run(batch, 1.0)
    resolve_anchor_runs(now=NOW)
    fold_trust(now=NOW)
    assert (units_of(batch)[0]["canonical_owner_id"], outcomes_of(batch, car)) == (0, {})
    at = later(settings.FLEET.hold_seconds)
    AnchorMachine.objects.create(name="anchor", seen_at=at)
    Batch.objects.filter(id=batch.id).update(status="completed", outcome="full", ended_at=NOW)
    assert force_audits(now=at) == 1
    validate_ready(now=at)
    fold_trust(now=at)
    assert outcomes_of(batch, car) == {0: "final"}
    assert (units_of(batch)[0]["needed"], AnchorRun.objects.filter(state="waiting").count()) == (0, 0)


def test_results_of_an_ended_batch_that_no_anchor_can_run_are_left_to_their_vehicles_next_audit():
    batch, car = make_audited_batch(units=2), make_vehicle()
    at = hold(batch, car, 2)
    Batch.objects.filter(id=batch.id).update(status="cancelled", outcome="full", ended_at=NOW)
    AnchorMachine.objects.create(name="anchor", seen_at=at)
    AnchorRun.objects.create(batch=batch, unit_number=1, reason="floor", state="failed", created_at=NOW, done_at=NOW)
    assert force_audits(now=at) == 0
    # An operator mends the anchor and has it run a unit.
    finish_run(batch, 1.0, unit=0, reason="operator")
    assert force_audits(now=at) == 1


@pytest.mark.parametrize("leaving", ["removed by its owner", "quarantined by an operator"])
def test_what_a_car_did_before_it_left_becomes_final_and_is_paid(leaving):
    batch, car = make_audited_batch(units=2), make_vehicle()
    at = hold(batch, car, 2)
    if leaving.startswith("removed"):
        Vehicle.objects.filter(id=car.id).update(status="revoked", revoked_at=NOW)
    else:
        quarantine_vehicle(vehicle_id=car.id, reason="odd", operator="operator", now=NOW)
    assert force_audits(now=at) == 1
    pass_audit(batch, 1)
    fold_trust(now=at)
    assert outcomes_of(batch, car) == {0: "final", 1: "final"}
    settle_credit(now=at + timedelta(days=2))
    balance = AccountBalance.objects.get(account__owner=car.owner, account__kind="owner_earned")
    assert balance.balance_microcredits == 100
