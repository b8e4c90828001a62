"""Audits on the database: each rung of the ladder, each outcome of a dispute, and how an audit goes on or ends."""

from __future__ import annotations

import hashlib
import threading
from datetime import timedelta

import numpy as np
import pytest
from django.conf import settings
from django.db import connection
from safetensors.numpy import save

from tests.engine.audit_rows import (
    AUDIT,
    KNOWN,
    audits_of,
    deliver_bytes,
    end_replica,
    fail_run,
    finish_run,
    make_audited_batch,
    put_replica,
    review,
    salt_of,
)
from tests.engine.factories import NOW, honest_output, known, later, make_vehicle, rows_of
from workunits.domain.sketch import make_sketch
from workunits.domain.tokens import ReplicaRef, salted_digest, seal_tokens
from workunits.models import AnchorRun, Audit, Batch, BatchProgress, Revocation, TrustEvent
from workunits.pipeline import drain
from workunits.pipeline.resolve import escalate_audits, resolve_anchor_runs
from workunits.pipeline.upload import accept_part, get_upload
from workunits.pipeline.validate import validate_ready
from workunits.store.audits import list_audits_to_escalate, open_audits

pytestmark = pytest.mark.django_db

RIGHT, NEAR, BETWEEN, WRONG = 1.0, 1.00005, 1.00025, 7.0


@pytest.fixture(autouse=True)
def no_luck(monkeypatch):
    """Draws come out the same: no anchor floor, no other class, half of the delay."""
    monkeypatch.setattr(drain, "_random", lambda: 0.5)


def states(batch, unit=0):
    rows = rows_of("replica", batch_id=batch.id, unit_number=unit)
    return {row["owner_id"]: row["state"] for row in rows}


def unit_of(batch, number=0):
    return rows_of("unit", batch_id=batch.id, number=number)[0]


def trust_due():
    with connection.cursor() as cursor:
        cursor.execute("SELECT vehicle_id FROM trust_due ORDER BY 1")
        return [vehicle_id for (vehicle_id,) in cursor.fetchall()]


def audited(value=RIGHT, **options):
    """Return a batch of one unit with a believed, drawn result, and the car whose it is."""
    batch = make_audited_batch(units=1)
    primary = put_replica(batch, value, drawn=True, sequence=11, **options)
    validate_ready(now=NOW)
    return batch, primary


def the(batch, reason):
    (audit,) = audits_of(batch, reason=reason)
    return audit


def test_a_believed_result_is_provisional_and_its_audit_is_opened_in_the_same_breath():
    batch, primary = audited()
    unit = unit_of(batch)
    assert (unit["state"], unit["canonical_owner_id"], unit["final_at"]) == ("VALIDATED", primary.owner_id, None)
    assert (unit["needed"], unit["urgent"], unit["confirmed"]) == (1, True, 0)
    audit = the(batch, "drawn")
    assert (audit.state, audit.needs, audit.vehicle_id, audit.owner_id) == ("open", "car", primary.id, primary.owner_id)
    assert (audit.sequence, audit.level, audit.weight_microcredits, audit.primary_class) == (11, 2, 50, "x86")
    assert audit.opens_at - NOW == timedelta(seconds=settings.FLEET.audit_delay_seconds / 2)
    (item,) = rows_of("earning_item", batch_id=batch.id)
    assert (item["provisional"], item["verification"], item["amount_microcredits"]) == (True, False, 50)
    progress = BatchProgress.objects.get(batch=batch)
    assert (progress.units_open, progress.units_validated, progress.rows_validated) == (0, 1, 2)
    assert (progress.units_final, progress.rows_final) == (0, 0)
    assert trust_due() == [primary.id]
    assert Batch.objects.get(id=batch.id).status == "finalizing"


def test_a_level_with_a_quorum_is_final_at_once_and_opens_no_audit():
    batch = make_audited_batch("quorum", units=1)
    put_replica(batch, drawn=True)
    validate_ready(now=NOW)
    assert unit_of(batch)["final_at"] == NOW
    assert (audits_of(batch), trust_due()) == ([], [])
    progress = BatchProgress.objects.get(batch=batch)
    assert (progress.units_final, progress.rows_final) == (1, 2)
    assert rows_of("earning_item", batch_id=batch.id)[0]["provisional"] is False


def test_critical_waits_for_three_and_is_final_then():
    batch = make_audited_batch("critical", units=1)
    Batch.objects.filter(id=batch.id).update(quorum=3)
    for _ in range(2):
        put_replica(batch)
        validate_ready(now=NOW)
        assert unit_of(batch)["state"] == "OPEN"
    put_replica(batch)
    validate_ready(now=NOW)
    assert unit_of(batch)["final_at"] == NOW


def test_the_salted_digest_of_the_same_output_passes_an_audit_without_its_bytes():
    batch, primary = audited()
    auditor = put_replica(batch, RIGHT, state="COMMITTED", role=AUDIT, sequence=5, comparison_class="arm")
    validate_ready(now=NOW)
    assert states(batch) == {primary.owner_id: "VALID", auditor.owner_id: "VALID"}
    audit, mirror = the(batch, "drawn"), the(batch, "auditing")
    assert (audit.state, audit.stage, audit.distance, audit.resolved_at) == ("passed", "digest", 0.0, NOW)
    assert (audit.auditor_vehicle_id, audit.auditor_owner_id, audit.auditor_class) == (
        auditor.id,
        auditor.owner_id,
        "arm",
    )
    assert (mirror.state, mirror.vehicle_id, mirror.sequence, mirror.owner_id) == (
        "passed",
        auditor.id,
        5,
        auditor.owner_id,
    )
    unit = unit_of(batch)
    assert (unit["confirmed"], unit["needed"], unit["final_at"]) == (1, 0, None)
    items = {item["owner_id"]: item for item in rows_of("earning_item", batch_id=batch.id)}
    assert items[auditor.owner_id]["verification"] is True
    assert items[auditor.owner_id]["provisional"] is True
    assert items[auditor.owner_id]["amount_microcredits"] == items[primary.owner_id]["amount_microcredits"]
    assert trust_due() == sorted([primary.id, auditor.id])
    events = TrustEvent.objects.order_by("vehicle_id").values_list("vehicle_id", "kind", "level", "sequence")
    assert list(events) == [(primary.id, "audit_passed", 2, 11), (auditor.id, "audit_passed", 2, 5)]


def test_inline_bytes_that_are_equal_are_decided_without_reading_any(monkeypatch):
    batch, _ = audited()
    put_replica(batch, RIGHT, role=AUDIT)
    monkeypatch.setattr(drain, "read_outputs", lambda *_: pytest.fail("bytes were read"))
    validate_ready(now=NOW)
    assert the(batch, "drawn").state == "passed"


def test_a_sketch_close_to_the_result_passes_and_one_far_from_it_asks_for_the_bytes():
    from workunits.store.batches import get_comparison_specs

    batch, _ = audited()
    specs = get_comparison_specs(batch.id)
    near, far = make_vehicle(), make_vehicle()
    for vehicle, value in ((far, WRONG), (near, NEAR)):
        data = honest_output(2, value)
        sketch = make_sketch(data, specs, salt_of(batch, vehicle.owner_id))
        put_replica(batch, value, vehicle=vehicle, state="COMMITTED", role=AUDIT, sketch=sketch)
        validate_ready(now=NOW)
        if vehicle is far:
            (row,) = [row for row in rows_of("replica") if row["owner_id"] == far.owner_id]
            assert (row["state"], row["bytes_wanted"]) == ("COMMITTED", True)
            assert the(batch, "drawn").state == "open"
    audit = the(batch, "drawn")
    assert (audit.state, audit.stage) == ("passed", "sketch")
    assert 0 < audit.distance < 1.5


def test_without_a_sketch_the_bytes_are_asked_for_and_decide_when_they_come():
    batch, _ = audited()
    auditor = put_replica(batch, NEAR, state="COMMITTED", role=AUDIT)
    validate_ready(now=NOW)
    (row,) = [row for row in rows_of("replica") if row["owner_id"] == auditor.owner_id]
    assert (row["state"], row["bytes_wanted"]) == ("COMMITTED", True)
    assert unit_of(batch)["needed"] == 0
    deliver_bytes(batch, auditor, NEAR)
    validate_ready(now=NOW)
    audit = the(batch, "drawn")
    assert (audit.state, audit.stage) == ("passed", "tensors")
    assert audit.distance == pytest.approx(0.5, rel=0.01)


def test_a_kept_output_is_uploaded_when_it_is_asked_for_and_decides():
    batch, _ = audited()
    auditor = put_replica(batch, NEAR, state="COMMITTED", role=AUDIT)
    validate_ready(now=NOW)
    key = settings.FLEET_TOKEN_KEY
    token = seal_tokens(key, [ReplicaRef(batch.id, 0, auditor.owner_id, 1)])[0]
    data = honest_output(2, NEAR)
    assert get_upload(vehicle=known(auditor), token=token) == (0, len(data))
    assert accept_part(vehicle=known(auditor), token=token, offset=0, data=data, now=NOW) == len(data)
    assert states(batch)[auditor.owner_id] == "REPORTED"
    validate_ready(now=NOW)
    assert (the(batch, "drawn").state, the(batch, "drawn").stage) == ("passed", "tensors")
    assert accept_part(vehicle=known(auditor), token=token, offset=0, data=data, now=NOW) == len(data)
    assert states(batch)[auditor.owner_id] == "VALID"


def test_a_re_run_that_agreed_without_its_bytes_has_nothing_left_to_upload():
    batch, _ = audited()
    auditor = put_replica(batch, RIGHT, state="COMMITTED", role=AUDIT)
    validate_ready(now=NOW)
    token = seal_tokens(settings.FLEET_TOKEN_KEY, [ReplicaRef(batch.id, 0, auditor.owner_id, 1)])[0]
    size = len(honest_output(2, RIGHT))
    assert get_upload(vehicle=known(auditor), token=token) == (size, size)
    (row,) = [row for row in rows_of("replica") if row["owner_id"] == auditor.owner_id]
    assert (row["state"], row["output"], row["output_digest"]) == ("VALID", None, None)


def dispute(primary=RIGHT, auditor=WRONG):
    """Return a batch in dispute, and the cars of both sides."""
    batch, first = audited(primary)
    second = put_replica(batch, auditor, role=AUDIT, sequence=22, comparison_class="arm")
    validate_ready(now=NOW)
    return batch, first, second


def test_a_difference_is_a_dispute_that_blames_nobody_and_waits_for_an_anchor():
    batch, first, second = dispute()
    audit = the(batch, "drawn")
    assert (audit.state, audit.needs, audit.stage, audit.auditor_vehicle_id) == ("open", "anchor", "tensors", second.id)
    assert audit.distance > 4
    run = AnchorRun.objects.get()
    assert (run.batch_id, run.unit_number, run.reason, run.audit_id, run.state) == (
        batch.id,
        0,
        "dispute",
        audit.id,
        "waiting",
    )
    assert states(batch) == {first.owner_id: "VALID", second.owner_id: "REPORTED"}
    assert (unit_of(batch)["needed"], TrustEvent.objects.count()) == (0, 0)
    review(batch)
    validate_ready(now=NOW)
    assert AnchorRun.objects.count() == 1


@pytest.mark.parametrize(
    ("primary", "auditor", "primary_state", "auditor_state", "auditor_replica"),
    [
        (RIGHT, WRONG, "passed", "failed", "INVALID"),
        (WRONG, RIGHT, "failed", "passed", "VALID"),
        (WRONG, -WRONG, "failed", "failed", "INVALID"),
        (RIGHT, BETWEEN, "passed", "inconclusive", "INCONCLUSIVE"),
        (BETWEEN, RIGHT, "inconclusive", "passed", "VALID"),
        (WRONG, BETWEEN, "failed", "inconclusive", "INCONCLUSIVE"),
    ],
)
def test_the_anchor_settles_a_dispute(primary, auditor, primary_state, auditor_state, auditor_replica):
    batch, first, second = dispute(primary, auditor)
    finish_run(batch, RIGHT)
    assert resolve_anchor_runs(now=later(60)) is True
    assert states(batch) == {0: "VALID", first.owner_id: "VALID", second.owner_id: auditor_replica}
    audit, mirror = the(batch, "drawn"), the(batch, "auditing")
    assert (audit.state, audit.stage, audit.auditor_owner_id, audit.settled_at) == (primary_state, "anchor", 0, None)
    assert (mirror.state, mirror.vehicle_id, mirror.sequence) == (auditor_state, second.id, 22)
    unit = unit_of(batch)
    assert (unit["state"], unit["canonical_owner_id"], unit["final_at"]) == ("VALIDATED", 0, later(60))
    progress = BatchProgress.objects.get(batch=batch)
    assert (progress.units_final, progress.rows_final, progress.rows_validated) == (1, 2, 2)
    paid = {item["owner_id"] for item in rows_of("earning_item", batch_id=batch.id)}
    assert paid == {first.owner_id} | ({second.owner_id} if auditor_state == "passed" else set())
    kinds = {event.vehicle_id: event.kind for event in TrustEvent.objects.all()}
    name = {"passed": "audit_passed", "failed": "audit_failed", "inconclusive": "inconclusive"}
    assert kinds == {first.id: name[primary_state], second.id: name[auditor_state]}
    # Who is between is not blamed, and not believed: his result is taken back.
    taken_back = list(Revocation.objects.values_list("owner_id", "vehicle_id", "sequence", "audit_id"))
    assert taken_back == ([(first.owner_id, first.id, 11, audit.id)] if primary_state == "inconclusive" else [])
    assert AnchorRun.objects.get().resolved_at == later(60)
    assert rows_of("review") == []


def test_resolving_twice_changes_nothing():
    batch, _, _ = dispute()
    finish_run(batch)
    assert resolve_anchor_runs(now=NOW) is True
    before = (rows_of("replica"), rows_of("unit"), list(Audit.objects.values()), list(TrustEvent.objects.values()))
    assert resolve_anchor_runs(now=later(5)) is False
    review(batch)
    validate_ready(now=later(5))
    after = (rows_of("replica"), rows_of("unit"), list(Audit.objects.values()), list(TrustEvent.objects.values()))
    assert after == before


def test_an_anchors_output_that_is_malformed_convicts_nobody():
    batch, _first, second = dispute()
    finish_run(batch, output=honest_output(3, RIGHT))
    resolve_anchor_runs(now=NOW)
    run = AnchorRun.objects.get()
    assert (run.state, run.resolved_at) == ("failed", NOW)
    assert run.error.startswith("its output is of no use")
    assert not Audit.objects.filter(state="failed").exists()
    assert states(batch)[second.owner_id] == "INCONCLUSIVE"
    assert 0 not in states(batch)


def test_where_no_anchor_could_run_a_dispute_nobody_is_blamed_and_the_result_is_taken_back():
    batch, first, second = dispute()
    fail_run(batch)
    assert resolve_anchor_runs(now=NOW) is True
    audit = the(batch, "drawn")
    assert (audit.state, audit.detail) == ("inconclusive", "no anchor could run it")
    assert states(batch) == {first.owner_id: "VALID", second.owner_id: "INCONCLUSIVE"}
    assert [row.owner_id for row in Revocation.objects.all()] == [first.owner_id]
    assert not Audit.objects.filter(state="failed").exists()


def test_a_precision_cheat_lands_in_a_dispute_and_loses():
    rng = np.random.default_rng(7)
    exact = rng.standard_normal((2, 4)).astype(np.float32)
    cheap = exact.astype(np.float16).astype(np.float32)
    cheap[1, 2] += 2e-3  # what fp16 accumulation does to a larger model
    batch = make_audited_batch(units=1)
    cheat = put_replica(batch, output=save({"score": cheap}), drawn=True)
    validate_ready(now=NOW)
    honest = put_replica(batch, output=save({"score": exact}), role=AUDIT)
    validate_ready(now=NOW)
    finish_run(batch, output=save({"score": exact}))
    resolve_anchor_runs(now=NOW)
    assert (the(batch, "drawn").state, the(batch, "drawn").vehicle_id) == ("failed", cheat.id)
    assert (the(batch, "auditing").state, the(batch, "auditing").vehicle_id) == ("passed", honest.id)


def test_a_lazy_auditor_cannot_pass_with_the_digest_or_sketch_that_another_sent():
    batch, primary = audited()
    data = honest_output(2, RIGHT)
    copied = salted_digest(salt_of(batch, primary.owner_id), data)
    for stolen in (copied, hashlib.sha256(data).digest()):
        lazy = put_replica(batch, WRONG, state="COMMITTED", role=AUDIT, commitment=stolen)
        validate_ready(now=NOW)
        assert states(batch)[lazy.owner_id] == "COMMITTED"
        (row,) = [row for row in rows_of("replica") if row["owner_id"] == lazy.owner_id]
        assert row["bytes_wanted"] is True
    assert the(batch, "drawn").state == "open"
    assert audits_of(batch, reason="auditing") == []


def test_a_lazy_auditor_cannot_pass_with_a_sketch_of_another_salt():
    from workunits.store.batches import get_comparison_specs

    output = save({"score": np.random.default_rng(3).standard_normal((2, 4)).astype(np.float32)})
    batch = make_audited_batch(units=1)
    primary = put_replica(batch, output=output, drawn=True)
    validate_ready(now=NOW)
    stolen = make_sketch(output, get_comparison_specs(batch.id), salt_of(batch, primary.owner_id))
    lazy = put_replica(batch, WRONG, state="COMMITTED", role=AUDIT, sketch=stolen)
    validate_ready(now=NOW)
    assert states(batch)[lazy.owner_id] == "COMMITTED"
    assert the(batch, "drawn").state == "open"


@pytest.mark.parametrize("ending", ["RETURNED", "ERRORED", "EXPIRED"])
def test_an_auditor_that_vanishes_is_replaced_by_another_car(ending):
    batch, _ = audited()
    gone = put_replica(batch, state="LEASED", role=AUDIT)
    validate_ready(now=NOW)
    assert unit_of(batch)["needed"] == 0
    end_replica(batch, gone, ending)
    validate_ready(now=NOW)
    assert (unit_of(batch)["needed"], unit_of(batch)["urgent"], the(batch, "drawn").state) == (1, True, "open")


def test_a_known_answer_of_cars_goes_to_an_anchor_and_then_counts():
    batch = make_audited_batch(units=1)
    primary = put_replica(batch, RIGHT)
    validate_ready(now=NOW)
    newcomer = put_replica(batch, WRONG, role=KNOWN, sequence=3)
    validate_ready(now=NOW)
    run = AnchorRun.objects.get()
    assert (run.reason, run.audit_id, Audit.objects.count()) == ("dispute", None, 0)
    finish_run(batch, RIGHT)
    resolve_anchor_runs(now=NOW)
    (audit,) = audits_of(batch)
    assert (audit.reason, audit.state, audit.vehicle_id, audit.sequence) == ("known", "failed", newcomer.id, 3)
    assert states(batch) == {0: "VALID", primary.owner_id: "VALID", newcomer.owner_id: "INVALID"}
    second = put_replica(batch, WRONG, role=KNOWN, sequence=4)
    validate_ready(now=NOW)
    assert [audit.state for audit in audits_of(batch, vehicle=second)] == ["failed"]
    assert AnchorRun.objects.count() == 1


def test_a_known_answer_that_is_right_is_paid_by_the_platform_and_confirms_nothing():
    batch = make_audited_batch(units=1)
    put_replica(batch, RIGHT)
    validate_ready(now=NOW)
    newcomer = put_replica(batch, RIGHT, role=KNOWN)
    validate_ready(now=NOW)
    assert (the(batch, "known").state, unit_of(batch)["confirmed"]) == ("passed", 0)
    (item,) = [item for item in rows_of("earning_item") if item["owner_id"] == newcomer.owner_id]
    assert item["verification"] is True


def test_the_audit_of_a_result_that_was_taken_back_is_void_and_the_next_result_gets_its_own():
    batch, first = audited()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE replica SET state = 'REVOKED' WHERE batch_id = %s", [batch.id])
        cursor.execute(
            "UPDATE unit SET state = 'OPEN', canonical_owner_id = NULL, decided_at = NULL, needed = 1"
            " WHERE batch_id = %s",
            [batch.id],
        )
    BatchProgress.objects.filter(batch=batch).update(units_open=1, units_validated=0, rows_validated=0)
    second = put_replica(batch, RIGHT, drawn=True)
    validate_ready(now=NOW)
    validate_ready(now=NOW)
    assert [(audit.vehicle_id, audit.state) for audit in audits_of(batch)] == [(first.id, "void"), (second.id, "open")]
    assert (unit_of(batch)["canonical_owner_id"], unit_of(batch)["needed"]) == (second.owner_id, 1)
    assert states(batch) == {first.owner_id: "REVOKED", second.owner_id: "VALID"}


def test_an_audit_by_a_car_goes_on_after_its_batch_was_completed():
    batch, _ = audited()
    Batch.objects.filter(id=batch.id).update(status="completed", outcome="full", ended_at=NOW)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE unit SET state = 'ASSEMBLED' WHERE batch_id = %s", [batch.id])
    put_replica(batch, RIGHT, role=AUDIT)
    validate_ready(now=NOW)
    assert the(batch, "drawn").state == "passed"
    assert unit_of(batch)["state"] == "ASSEMBLED"


@pytest.fixture
def anchor_alive(monkeypatch):
    """Let an anchor be there, as far as the stages can see."""
    from workunits.pipeline import resolve

    monkeypatch.setattr(drain, "is_anchor_alive", lambda _now: True)
    monkeypatch.setattr(resolve, "is_anchor_alive", lambda _now: True)


OVERDUE = timedelta(seconds=1)


def overdue():
    return NOW + timedelta(seconds=settings.FLEET.audit_patience_seconds) + OVERDUE


def test_an_overdue_audit_goes_to_an_anchor(anchor_alive):
    batch, _ = audited()
    assert escalate_audits(now=overdue() - 2 * OVERDUE) == 0
    assert escalate_audits(now=overdue()) == 1
    audit, run = the(batch, "drawn"), AnchorRun.objects.get()
    assert (audit.needs, run.reason, run.audit_id) == ("anchor", "overdue", audit.id)
    validate_ready(now=overdue())
    assert unit_of(batch)["needed"] == 0
    assert escalate_audits(now=overdue()) == 0


def test_an_audit_that_found_nobody_of_another_class_goes_to_any_car_where_no_anchor_is_there():
    batch, _ = audited()
    Audit.objects.update(needs="other_class")
    assert escalate_audits(now=overdue()) == 1
    validate_ready(now=overdue())
    assert (the(batch, "drawn").needs, unit_of(batch)["needed"], AnchorRun.objects.count()) == ("car", 1, 0)
    assert escalate_audits(now=overdue()) == 0


def test_what_can_only_wait_is_not_looked_at_again_and_again():
    batch, _ = audited()
    assert escalate_audits(now=overdue()) == 0  # any car may run it already
    Batch.objects.filter(id=batch.id).update(status="completed", outcome="full", ended_at=NOW)
    assert escalate_audits(now=overdue()) == 0
    when = {"overdue_before": overdue(), "held_before": NOW - OVERDUE, "audits_max": 10}
    assert list_audits_to_escalate(**when, has_anchor=False) == []
    assert list_audits_to_escalate(**when, has_anchor=True) == [(batch.id, 0, "completed", True, False)]
    Audit.objects.update(stage="tensors")
    AnchorRun.objects.create(batch=batch, unit_number=0, reason="dispute", state="failed", created_at=NOW)
    assert list_audits_to_escalate(**when, has_anchor=True) == []


def test_whoever_pauses_a_batch_does_not_hold_up_what_its_cars_did_for_others_for_ever():
    batch, primary = audited()
    other = make_audited_batch(units=1)
    put_replica(other, vehicle=primary, sequence=2)
    Batch.objects.filter(id=batch.id).update(status="paused")
    held = NOW + timedelta(seconds=settings.FLEET.hold_seconds) + OVERDUE
    assert escalate_audits(now=held - 2 * OVERDUE) == 0
    assert escalate_audits(now=held) == 1
    audit = the(batch, "drawn")
    assert (audit.state, audit.detail) == ("void", "its batch was paused")
    assert [(row.batch_id, row.owner_id) for row in Revocation.objects.all()] == [(batch.id, primary.owner_id)]
    assert TrustEvent.objects.count() == 0


def test_cancelling_a_batch_does_not_get_a_result_out_of_its_audit(anchor_alive):
    batch, _ = audited(WRONG)
    Batch.objects.filter(id=batch.id).update(status="cancelled", outcome="partial", ended_at=NOW)
    assert escalate_audits(now=later(1)) == 1
    finish_run(batch, RIGHT)
    resolve_anchor_runs(now=later(2))
    assert the(batch, "drawn").state == "failed"


def test_an_audit_that_nobody_can_run_any_more_takes_its_result_with_it():
    batch, primary = audited(WRONG)
    Batch.objects.filter(id=batch.id).update(status="cancelled", outcome="partial", ended_at=NOW)
    assert escalate_audits(now=later(1)) == 0
    assert escalate_audits(now=overdue()) == 1
    audit = the(batch, "drawn")
    assert (audit.state, audit.detail) == ("void", "its batch ended unaudited")
    assert [(row.owner_id, row.audit_id) for row in Revocation.objects.all()] == [(primary.owner_id, audit.id)]
    assert TrustEvent.objects.count() == 0


def test_forced_audits_are_opened_once_and_only_of_results_that_stand():
    from workunits.domain.audits.rows import AuditRow

    batch = make_audited_batch(units=2)
    cars = [put_replica(batch, unit=number, sequence=7) for number in (0, 1)]
    validate_ready(now=NOW)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE replica SET state = 'REVOKED' WHERE batch_id = %s AND unit_number = 1", [batch.id])
    wanted = [
        (
            number,
            AuditRow(
                owner_id=car.owner_id,
                vehicle_id=car.id,
                sequence=7,
                level=2,
                weight=50,
                reason="forced",
                needs="car",
                opens_at=NOW,
                primary_class="x86",
            ),
        )
        for number, car in enumerate(cars)
    ]
    assert open_audits(batch.id, wanted, NOW) == 1
    assert open_audits(batch.id, wanted, NOW) == 0
    assert the(batch, "forced").vehicle_id == cars[0].id
    assert [unit["needed"] for unit in rows_of("unit", batch_id=batch.id)] == [1, 0]


@pytest.mark.django_db(transaction=True)
def test_two_workers_that_resolve_and_validate_at_once_write_everything_once():
    batch = make_audited_batch(units=6)
    for number in range(6):
        put_replica(batch, WRONG if number % 2 else RIGHT, unit=number, drawn=True)
    validate_ready(now=NOW)
    for number in range(6):
        put_replica(batch, RIGHT if number % 2 else WRONG, unit=number, role=AUDIT)
    validate_ready(now=NOW)
    assert AnchorRun.objects.count() == 6
    for number in range(6):
        finish_run(batch, RIGHT, unit=number)
    barrier, problems = threading.Barrier(4), []

    def work(index: int) -> None:
        try:
            barrier.wait()
            for _ in range(3):
                resolve_anchor_runs(now=NOW) if index % 2 else validate_ready(now=NOW)
        except BaseException as error:  # noqa: BLE001 - raised again in the test's own thread
            problems.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    resolve_anchor_runs(now=NOW)
    validate_ready(now=NOW)
    assert [audit.state for audit in audits_of(batch, reason="drawn")] == ["passed", "failed"] * 3
    assert sorted(audit.state for audit in audits_of(batch, reason="auditing")) == ["failed"] * 3 + ["passed"] * 3
    assert TrustEvent.objects.count() == 12
    assert len([row for row in rows_of("replica") if row["owner_id"] == 0]) == 6
    assert len(rows_of("earning_item")) == 9
    progress = BatchProgress.objects.get(batch=batch)
    assert (progress.units_final, progress.rows_final) == (6, 12)
    assert rows_of("review") == []
