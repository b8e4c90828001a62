"""What follows from a lost audit: the vehicle's reset, results taken back in commit order, and their batches."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import chain

import pytest
from django.db import connection

from tests.engine.audit_rows import AUDIT, audits_of, finish_run, make_audited_batch
from tests.engine.factories import NOW, Car, commit, known, later, make_vehicle, rows_of, snapshot
from tests.engine.test_concurrency import run_threads
from tests.engine.trust_rows import commit_result, outcomes_of, units_of
from workunits.models import (
    AccountBalance,
    AnchorRun,
    Audit,
    Batch,
    BatchNotice,
    BatchProgress,
    Revocation,
    TrustEvent,
    VehiclePresence,
    VehicleStanding,
    VehicleTrust,
)
from workunits.pipeline import drain
from workunits.pipeline.credit import settle_credit
from workunits.pipeline.dispatch import SyncConflict, sync_vehicle
from workunits.pipeline.report import SyncRequest
from workunits.pipeline.resolve import resolve_anchor_runs
from workunits.pipeline.revoke import apply_revocations, settle_failures
from workunits.pipeline.trust import fold_trust, release_vehicle
from workunits.pipeline.validate import validate_ready
from workunits.store.leases import Heartbeat

pytestmark = pytest.mark.django_db

RIGHT, WRONG = 1.0, 7.0


@pytest.fixture(autouse=True)
def no_luck(monkeypatch):
    """Draws come out the same: no anchor floor, no other class."""
    monkeypatch.setattr(drain, "_random", lambda: 0.5)


def pass_audit(batch, unit):
    commit_result(batch, make_vehicle(), unit=unit, role=AUDIT, state="COMMITTED")
    validate_ready(now=NOW)


def lose_audit(batch, unit):
    """Let an anchor say that a unit's result is wrong."""
    finish_run(batch, RIGHT, unit=unit)
    resolve_anchor_runs(now=NOW)


def states(batch, vehicle):
    rows = rows_of("replica", batch_id=batch.id, owner_id=vehicle.owner_id)
    return {row["unit_number"]: row["state"] for row in rows}


def work(units=5, *, drawn=(1, 3), wrong=(3,), level="standard"):
    """Return a batch and a car that committed to all its units, the first audit passed."""
    batch, car = make_audited_batch(level, units=units), make_vehicle()
    for unit in range(units):
        commit_result(batch, car, WRONG if unit in wrong else RIGHT, unit=unit, drawn=unit in drawn)
    validate_ready(now=NOW)
    pass_audit(batch, drawn[0])
    fold_trust(now=NOW)
    return batch, car


def test_a_lost_audit_takes_back_all_after_the_last_passed_one_before_it_and_resets_the_vehicle():
    batch, car = work()
    life = VehiclePresence.objects.get(vehicle=car).trust_life
    lose_audit(batch, 3)
    assert settle_failures(now=later(1)) == 1
    assert settle_failures(now=later(1)) == 0
    assert VehiclePresence.objects.get(vehicle=car).trust_life == life + 1
    assert set(VehicleTrust.objects.filter(vehicle=car).values_list("weight_microcredits", flat=True)) == {0}
    standing = VehicleStanding.objects.get(vehicle=car)
    assert (standing.resets, standing.life_ends, standing.state) == ([later(1)], [5], "normal")
    assert [x.sequence for x in Revocation.objects.order_by("sequence")] == [3, 4, 5]
    assert audits_of(batch, state="failed")[0].settled_at == later(1)
    event = TrustEvent.objects.get(vehicle=car, kind="reset")
    assert (event.weight_before, event.weight_after, event.sequence) == (150, 0, 5)
    assert sorted(event.scopes) == [[2, 0, "", 150], [2, 0, "x86", 150], [2, batch.model_id, "x86", 150]]
    assert apply_revocations(now=later(2)) == 2
    assert states(batch, car) == {0: "VALID", 1: "VALID", 2: "REVOKED", 3: "REVOKED", 4: "REVOKED"}
    units = units_of(batch)
    # An anchor has run unit 3: its output took the result's place before.
    assert [unit["state"] for unit in units] == ["VALIDATED", "VALIDATED", "OPEN", "VALIDATED", "OPEN"]
    assert [
        (unit["needed"], unit["urgent"], unit["canonical_owner_id"]) for unit in units if unit["state"] == "OPEN"
    ] == [(1, True, None)] * 2
    assert units[3]["canonical_owner_id"] == 0
    assert outcomes_of(batch, car) == {0: "final", 1: "final", 2: "revoked", 3: "revoked", 4: "revoked"}
    progress = BatchProgress.objects.get(batch=batch)
    assert (progress.units_open, progress.units_validated, progress.rows_validated) == (2, 3, 6)
    assert (progress.units_final, progress.rows_final, progress.rows_revoked) == (3, 6, 4)
    fold_trust(now=later(3))
    assert set(VehicleTrust.objects.filter(vehicle=car).values_list("weight_microcredits", flat=True)) == {0}
    assert apply_revocations(now=later(4)) == 0


def test_audits_that_passed_after_the_lost_one_save_nothing():
    batch, car = work(units=6, drawn=(1, 3, 4), wrong=(3,))
    pass_audit(batch, 4)
    lose_audit(batch, 3)
    settle_failures(now=NOW)
    apply_revocations(now=NOW)
    assert states(batch, car) == {0: "VALID", 1: "VALID"} | dict.fromkeys((2, 3, 4, 5), "REVOKED")


def test_results_without_a_verdict_are_never_believed_afterwards():
    batch, car = work(units=5)
    other = make_audited_batch(units=2)
    commit_result(other, car, unit=0)  # reported, not judged yet
    commit_result(other, car, unit=1, state="COMMITTED")
    lose_audit(batch, 3)  # judges the batch of the audit alone
    settle_failures(now=NOW)
    assert states(other, car) == {0: "REPORTED", 1: "COMMITTED"}
    apply_revocations(now=NOW)
    validate_ready(now=NOW)
    assert states(other, car) == {0: "CANCELLED", 1: "CANCELLED"}
    assert [(unit["state"], unit["needed"]) for unit in units_of(other)] == [("OPEN", 1)] * 2
    assert rows_of("earning_item", batch_id=other.id) == []


def test_a_verdict_that_comes_between_the_reset_and_its_batch_is_taken_back():
    batch, car = work(units=5)
    other = make_audited_batch(units=1)
    commit_result(other, car)
    lose_audit(batch, 3)
    settle_failures(now=NOW)
    validate_ready(now=NOW)
    assert states(other, car) == {0: "VALID"}
    fold_trust(now=NOW)
    assert VehicleTrust.objects.filter(vehicle=car, weight_microcredits__gt=0).count() == 0
    apply_revocations(now=NOW)
    assert (states(other, car), outcomes_of(other, car)) == ({0: "REVOKED"}, {0: "revoked"})
    assert units_of(other)[0]["state"] == "OPEN"


def test_open_audits_of_what_is_taken_back_are_void():
    batch, car = work(units=6, drawn=(1, 3, 5))
    lose_audit(batch, 3)
    settle_failures(now=NOW)
    apply_revocations(now=NOW)
    validate_ready(now=NOW)
    (audit,) = audits_of(batch, sequence=6, vehicle=car)
    assert (audit.state, audit.detail) == ("void", "the result was taken back")
    assert units_of(batch)[5]["needed"] == 1


def test_each_level_loses_what_came_after_its_own_passed_audit():
    batch, car = work()
    economy = make_audited_batch("economy", units=2)
    for unit in range(2):
        commit_result(economy, car, unit=unit, drawn=unit == 0)
    validate_ready(now=NOW)
    pass_audit(economy, 0)
    lose_audit(batch, 3)
    settle_failures(now=NOW)
    apply_revocations(now=NOW)
    # The economy audit passed after the lost one in commit order, so it saves nothing either.
    assert states(economy, car) == {0: "REVOKED", 1: "REVOKED"}
    assert outcomes_of(economy, car) == {0: "revoked", 1: "revoked"}


def test_two_lost_audits_of_one_life_are_one_reset():
    batch, car = work(units=7, drawn=(1, 3, 5), wrong=(3, 5))
    lose_audit(batch, 5)
    lose_audit(batch, 3)
    assert settle_failures(now=NOW) == 1
    assert VehicleStanding.objects.get(vehicle=car).life_ends == [7]
    apply_revocations(now=NOW)
    assert states(batch, car) == {0: "VALID", 1: "VALID"} | dict.fromkeys((2, 3, 4, 5, 6), "REVOKED")


def test_a_later_failure_in_an_ended_life_takes_more_of_it_and_leaves_the_new_life_alone():
    batch, car = make_audited_batch(units=8), make_vehicle()
    for unit in range(6):
        commit_result(batch, car, WRONG if unit in (1, 4) else RIGHT, unit=unit, drawn=unit in (1, 3, 4))
    validate_ready(now=NOW)
    pass_audit(batch, 3)
    lose_audit(batch, 4)
    settle_failures(now=NOW)
    apply_revocations(now=NOW)
    assert states(batch, car) == dict.fromkeys(range(4), "VALID") | {4: "REVOKED", 5: "REVOKED"}
    for unit in (6, 7):
        commit_result(batch, car, unit=unit)
    validate_ready(now=NOW)
    lose_audit(batch, 1)
    settle_failures(now=NOW)
    apply_revocations(now=NOW)
    assert states(batch, car) == dict.fromkeys(range(6), "REVOKED") | {6: "VALID", 7: "VALID"}
    standing = VehicleStanding.objects.get(vehicle=car)
    assert (standing.life_ends, len(standing.resets)) == ([6], 1)
    fold_trust(now=NOW)
    assert VehicleTrust.objects.get(vehicle=car, model_id=0, comparison_class="").weight_microcredits == 100


def test_a_sync_that_read_the_trust_before_the_reset_writes_nothing():
    batch = make_audited_batch(units=2)
    car = Car()
    lease = car.lease(1)[0]
    before = known(car.vehicle)
    other = make_audited_batch(units=1)
    commit_result(other, car.vehicle, WRONG, drawn=True)
    validate_ready(now=NOW)
    lose_audit(other, 0)
    settle_failures(now=NOW)
    rows = snapshot(batch)
    heartbeat = Heartbeat(
        counter=car.counter + 1,
        eligible=True,
        reasons=[],
        agent="test 1",
        comparison_class="cpu",
        memory_bytes=10_000,
        opset_max=23,
    )
    request = SyncRequest(
        heartbeat=heartbeat, wanted=0, cached_models=frozenset(), held=[], commitments=[commit(lease)], returned=[]
    )
    with pytest.raises(SyncConflict):
        sync_vehicle(vehicle=before, request=request, now=NOW)
    assert snapshot(batch) == rows
    assert car.report_all().outcomes == [(lease.token, "stored")]


def test_five_resets_in_thirty_days_quarantine_a_vehicle_and_an_operator_may_release_it():
    car = make_vehicle()
    seen = []
    for day in range(5):
        batch = make_audited_batch(units=1)
        commit_result(batch, car, WRONG, drawn=True)
        validate_ready(now=NOW)
        lose_audit(batch, 0)
        settle_failures(now=NOW + timedelta(days=day))
        seen.append(VehicleStanding.objects.get(vehicle=car).state)
    assert seen == ["normal", "normal", "watched", "watched", "quarantined"]
    standing = VehicleStanding.objects.get(vehicle=car)
    assert standing.quarantined_at == NOW + timedelta(days=4)
    assert standing.reason == "5 times within 30 days a result was found wrong"
    kinds = list(TrustEvent.objects.filter(vehicle=car).order_by("id").values_list("kind", flat=True))
    assert [kind for kind in kinds if kind in ("watched", "quarantined")] == ["watched", "quarantined"]
    assert release_vehicle(vehicle_id=car.id, reason="a faulty memory module was replaced", now=later(1)) is True
    assert release_vehicle(vehicle_id=car.id, reason="again", now=later(1)) is False
    standing = VehicleStanding.objects.get(vehicle=car)
    assert (standing.state, standing.resets, standing.quarantined_at) == ("normal", [], None)
    assert len(standing.life_ends) == 5
    event = TrustEvent.objects.filter(vehicle=car, kind="released").get()
    assert event.detail == "was quarantined: a faulty memory module was replaced"


def test_resets_that_are_long_past_do_not_count():
    car = make_vehicle()
    for day in (0, 20, 40, 60, 80):
        batch = make_audited_batch(units=1)
        commit_result(batch, car, WRONG, drawn=True)
        validate_ready(now=NOW)
        lose_audit(batch, 0)
        settle_failures(now=NOW + timedelta(days=day))
    assert VehicleStanding.objects.get(vehicle=car).state == "normal"


def complete(batch):
    Batch.objects.filter(id=batch.id).update(
        status="completed", outcome="full", ended_at=NOW, result_parquet="a" * 64, result_npz="b" * 64
    )
    with connection.cursor() as cursor:
        cursor.execute("UPDATE unit SET state = 'ASSEMBLED' WHERE batch_id = %s AND state = 'VALIDATED'", [batch.id])


def test_a_finished_file_that_held_what_is_taken_back_is_withdrawn_and_its_researcher_told():
    batch, _ = work(units=5)
    complete(batch)
    lose_audit(batch, 3)
    settle_failures(now=NOW)
    apply_revocations(now=later(1))
    batch.refresh_from_db()
    assert (batch.status, batch.outcome, batch.ended_at, batch.result_revision) == ("in_progress", None, None, 1)
    assert (batch.result_parquet, batch.result_npz) == ("", "")
    notice = BatchNotice.objects.get(batch=batch)
    assert (notice.code, notice.at) == ("rows_revoked", later(1))
    assert notice.text == (
        "6 rows were taken back after a failed audit, to be run again; the result files will be written anew"
    )
    # What the anchor found takes the place of what it found wrong, without another run.
    validate_ready(now=NOW)
    assert [unit["state"] for unit in units_of(batch)] == ["ASSEMBLED", "ASSEMBLED", "OPEN", "VALIDATED", "OPEN"]


@pytest.mark.parametrize("status", ["in_progress", "paused", "finalizing"])
def test_the_researcher_of_an_unfinished_batch_is_told_too_for_he_may_have_a_partial_file(status):
    batch, _ = work(units=5)
    Batch.objects.filter(id=batch.id).update(status=status)
    lose_audit(batch, 3)
    settle_failures(now=NOW)
    apply_revocations(now=later(1))
    assert BatchNotice.objects.get(batch=batch).text == (
        "4 rows were taken back after a failed audit, to be run again; a partial file from before may hold what was"
        " taken back"
    )


def test_units_of_a_cancelled_batch_are_not_run_again():
    batch, _ = work(units=5)
    Batch.objects.filter(id=batch.id).update(status="cancelled", outcome="partial", ended_at=NOW)
    lose_audit(batch, 3)
    settle_failures(now=NOW)
    apply_revocations(now=later(1))
    assert [unit["state"] for unit in units_of(batch)] == [
        "VALIDATED", "VALIDATED", "CANCELLED", "VALIDATED", "CANCELLED",
    ]  # fmt: skip
    progress = BatchProgress.objects.get(batch=batch)
    assert (progress.units_open, progress.units_cancelled, progress.rows_cancelled) == (0, 2, 4)
    batch.refresh_from_db()
    assert (batch.status, batch.outcome) == ("cancelled", "partial")


def test_a_result_dropped_without_blame_is_taken_back_alone():
    batch, car = make_audited_batch(units=2), make_vehicle()
    commit_result(batch, car, 1.00025, unit=0, drawn=True)
    commit_result(batch, car, RIGHT, unit=1)
    validate_ready(now=NOW)
    lose_audit(batch, 0)  # between: nobody is blamed
    assert settle_failures(now=NOW) == 0
    apply_revocations(now=NOW)
    fold_trust(now=NOW)
    assert states(batch, car) == {0: "REVOKED", 1: "VALID"}
    assert VehicleTrust.objects.get(vehicle=car, model_id=0, comparison_class="").weight_microcredits == 50


def test_a_dropped_result_is_taken_back_also_where_a_former_commitment_to_its_unit_was():
    batch, car = make_audited_batch(units=1), make_vehicle()
    commit_result(batch, car, 1.00025, drawn=True)
    validate_ready(now=NOW)
    (audit,) = audits_of(batch)
    Revocation.objects.create(
        batch_id=batch.id, unit_number=0, owner_id=car.owner_id, vehicle=car, sequence=0, audit_id=audit.id,
        created_at=NOW, done_at=NOW,
    )  # fmt: skip
    lose_audit(batch, 0)
    apply_revocations(now=NOW)
    assert states(batch, car) == {0: "REVOKED"}


def test_a_final_result_that_an_anchor_finds_wrong_is_replaced_and_stays_paid():
    batch, car = work(units=3, drawn=(2,), wrong=(0,))
    assert outcomes_of(batch, car) == dict.fromkeys(range(3), "final")
    complete(batch)
    lose_audit(batch, 0)
    settle_failures(now=NOW)
    apply_revocations(now=NOW)
    validate_ready(now=NOW)
    assert states(batch, car) == {0: "REVOKED", 1: "VALID", 2: "VALID"}
    assert outcomes_of(batch, car) == dict.fromkeys(range(3), "final")
    first = units_of(batch)[0]
    assert (first["state"], first["canonical_owner_id"]) == ("VALIDATED", 0)
    progress = BatchProgress.objects.get(batch=batch)
    assert (progress.rows_final, progress.rows_validated) == (6, 6)


def test_what_was_released_stays_earned_when_an_anchor_finds_it_wrong_and_nobody_pays_for_its_replacement():
    batch, car = work(units=4, drawn=(2,), wrong=(0,))
    complete(batch)
    day = timedelta(days=2)
    settle_credit(now=NOW + day)
    before = {b.account.kind: b.balance_microcredits for b in AccountBalance.objects.filter(account__owner=car.owner)}
    assert before == {"owner_earned": 150, "owner_provisional": 50}
    paid = AccountBalance.objects.get(account__kind="project_budget").balance_microcredits
    lose_audit(batch, 0)
    settle_failures(now=NOW + day)
    apply_revocations(now=NOW + day)
    validate_ready(now=NOW + day)
    settle_credit(now=NOW + 2 * day)
    after = {b.account.kind: b.balance_microcredits for b in AccountBalance.objects.filter(account__owner=car.owner)}
    # Three were final and are paid, the wrong one among them; the fourth, behind them, is gone.
    assert after == {"owner_earned": 150, "owner_provisional": 0}
    assert outcomes_of(batch, car) == {0: "final", 1: "final", 2: "final", 3: "revoked"}
    assert (
        AccountBalance.objects.get(account__kind="project_budget").balance_microcredits == paid + 60
    )  # and its premium
    assert VehicleStanding.objects.get(vehicle=car).life_ends == [4]
    units = units_of(batch)
    assert [(unit["canonical_owner_id"] == 0, unit["state"]) for unit in units] == [
        (True, "VALIDATED"), (False, "ASSEMBLED"), (False, "ASSEMBLED"), (False, "OPEN"),
    ]  # fmt: skip
    batch.refresh_from_db()
    assert (batch.status, batch.result_revision, BatchNotice.objects.filter(batch=batch).count()) == (
        "in_progress", 1, 1,
    )  # fmt: skip


def test_a_unit_given_again_to_its_owner_is_taken_back_under_its_new_number():
    batch, car = make_audited_batch(units=2), make_vehicle()
    first = commit_result(batch, car, WRONG, drawn=True)
    commit_result(batch, car, RIGHT, unit=1, state="COMMITTED")
    validate_ready(now=NOW)
    lose_audit(batch, 0)
    settle_failures(now=NOW)
    with connection.cursor() as cursor:  # it lapsed, was leased again, and was committed to once more
        cursor.execute(
            "UPDATE replica SET sequence = 3, attempt = 2 WHERE batch_id = %s AND unit_number = 1", [batch.id]
        )
        cursor.execute(
            "INSERT INTO vehicle_commit SELECT vehicle_id, 3, batch_id, unit_number, owner_id, 2, level, role,"
            " model_id, comparison_class, weight, probability, drawn, committed_at FROM vehicle_commit"
            " WHERE sequence = 2"
        )
    VehiclePresence.objects.filter(vehicle=car).update(commit_sequence=3)
    apply_revocations(now=NOW)
    assert (first, states(batch, car)[1]) == (1, "COMMITTED")


@pytest.mark.django_db(transaction=True)
def test_verdicts_resets_and_folds_at_once_leave_no_result_behind_a_lost_audit():
    batches = [make_audited_batch(units=20) for _ in range(3)]
    car, failing = make_vehicle(), make_audited_batch(units=1)
    commit_result(failing, car, WRONG, drawn=True)
    validate_ready(now=NOW)
    finish_run(failing, RIGHT)
    for unit in range(20):
        for batch in batches:
            commit_result(batch, car, unit=unit)

    stages = [
        validate_ready,
        validate_ready,
        resolve_anchor_runs,
        settle_failures,
        settle_failures,
        apply_revocations,
        apply_revocations,
        fold_trust,
    ]

    def run(index: int) -> None:
        for _ in range(8):
            stages[index](now=NOW)

    run_threads(len(stages), run)
    for stage in (validate_ready, resolve_anchor_runs, settle_failures, apply_revocations, fold_trust, fold_trust):
        stage(now=NOW)
    for batch in batches:
        assert set(states(batch, car).values()) <= {"REVOKED", "CANCELLED"}
        assert {unit["state"] for unit in units_of(batch)} == {"OPEN"}
        assert set(outcomes_of(batch, car).values()) <= {"revoked"}
        assert len(outcomes_of(batch, car)) == len(rows_of("earning_item", batch_id=batch.id))
        assert BatchProgress.objects.get(batch=batch).units_open == 20
    assert VehicleStanding.objects.get(vehicle=car).life_ends == [61]
    assert VehicleTrust.objects.filter(vehicle=car, weight_microcredits__gt=0).count() == 0


def check_totals(batch: Batch) -> None:
    """Check a batch's totals by its rows, and that what is believed stands on a replica that is."""
    units = units_of(batch)
    believed = [unit for unit in units if unit["state"] == "VALIDATED"]
    progress = BatchProgress.objects.get(batch=batch)
    assert (progress.units_open, progress.units_validated) == (len(units) - len(believed), len(believed))
    assert progress.units_final == sum(unit["final_at"] is not None for unit in units)
    replicas = {(row["unit_number"], row["owner_id"]): row for row in rows_of("replica", batch_id=batch.id)}
    assert all(replicas[unit["number"], unit["canonical_owner_id"]]["state"] == "VALID" for unit in believed)
    for row in rows_of("earning_outcome", batch_id=batch.id):
        if row["outcome"] == "revoked":
            assert replicas[row["unit_number"], row["owner_id"]]["state"] == "REVOKED"


def run_anchors(*, now: datetime) -> None:
    """Let an anchor run what waits for one."""
    for run in AnchorRun.objects.filter(state="waiting"):
        finish_run(run.batch, RIGHT, unit=run.unit_number)
    resolve_anchor_runs(now=now)


@pytest.mark.django_db(transaction=True)
def test_cars_that_work_and_lie_while_all_stages_run_neither_wait_for_ever_nor_lose_count():
    batches = [make_audited_batch(units=12) for _ in range(2)]
    workers = [Car() for _ in range(4)]
    finished: list[int] = []

    def drive(index: int) -> None:
        try:
            for turn in range(15):
                value = WRONG if index == 0 and turn % 3 == 2 else RIGHT
                with suppress(SyncConflict):  # its trust was reset since it was read: the car comes again
                    workers[index].report_all(value, want=3, at=later(1000 * turn))
        finally:
            finished.append(index)

    def judge(stages: list[Callable[..., object]]) -> None:
        while len(finished) < len(workers):
            for stage in stages:
                stage(now=later(20_000))

    duties: list[list[Callable[..., object]]] = [
        [validate_ready, run_anchors],
        [settle_failures, apply_revocations, fold_trust],
        [fold_trust, apply_revocations, settle_failures, validate_ready],
    ]
    run_threads(
        len(workers) + len(duties),
        lambda index: drive(index) if index < len(workers) else judge(duties[index - len(workers)]),
    )
    for stage in 3 * list(chain(*duties)):
        stage(now=later(30_000))
    for batch in batches:
        check_totals(batch)
    assert not Revocation.objects.filter(done_at=None).exists()
    assert not Audit.objects.filter(state="failed", settled_at=None).exists()
