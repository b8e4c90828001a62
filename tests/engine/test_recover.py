"""Recover: vanished cars, cancelled batches, and what a lost nudge left behind."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.conf import settings

from tests.engine.audit_rows import AUDIT, make_audited_batch, put_replica
from tests.engine.factories import NOW, Car, commit, later, lease_seconds, make_batch, make_vehicle, rows_of
from tests.engine.trust_rows import commit_result, outcomes_of
from workunits.models import Audit, Batch, BatchProgress, ModelAdmission, VehiclePresence
from workunits.pipeline import drain
from workunits.pipeline.assemble import assemble_batch
from workunits.pipeline.recover import cancel_batches, expire_overdue_leases, find_leftovers
from workunits.pipeline.trust import fold_trust
from workunits.pipeline.validate import validate_ready
from workunits.store.board import read_open_batches
from workunits.store.verdicts import list_batches_to_review
from workunits.tasks import sweep

pytestmark = pytest.mark.django_db


def test_a_vanished_cars_leases_expire_and_its_units_go_to_others():
    batch = make_batch(units=3)
    gone = Car()
    gone.lease(3)
    assert expire_overdue_leases(now=later(lease_seconds() - 1)) == 0
    assert expire_overdue_leases(now=later(lease_seconds() + 11)) == 3
    assert VehiclePresence.objects.get(vehicle=gone.vehicle).lease_expires_at is None
    validate_ready(now=NOW)
    assert [(unit["needed"], unit["urgent"]) for unit in rows_of("unit", batch_id=batch.id)] == [(2, True)] * 3
    assert len(Car().lease(3, at=later(1000))) == 3


def test_only_overdue_leases_of_a_car_expire():
    make_batch(units=2)
    car = Car()
    early = car.lease(1)[0]
    late = car.lease(1, at=later(500))[0]
    assert expire_overdue_leases(now=later(lease_seconds() + 11)) == 1
    replica_states = {row["unit_number"]: row["state"] for row in rows_of("replica")}
    assert replica_states == {early.replica.ref.unit_number: "EXPIRED", late.replica.ref.unit_number: "LEASED"}
    presence = VehiclePresence.objects.get(vehicle=car.vehicle)
    assert presence.lease_expires_at == later(500 + lease_seconds() + 10)


def test_a_committed_replica_whose_bytes_never_come_expires_too():
    make_batch(units=1)
    car = Car()
    lease = car.lease(1)[0]
    car.sync(commitments=[commit(lease, inline=False)])
    assert expire_overdue_leases(now=later(lease_seconds() + 11)) == 1
    assert [row["state"] for row in rows_of("replica")] == ["EXPIRED"]


def test_cancelling_ends_open_units_and_keeps_what_is_validated():
    batch = make_batch(units=3)
    for car in (Car(), Car()):
        car.lease(1)
        car.report_all()
    validate_ready(now=NOW)
    working = Car()
    lease = working.lease(1)[0]
    Batch.objects.filter(id=batch.id).update(status="cancelling")
    assert cancel_batches(now=NOW) == 1
    batch.refresh_from_db()
    assert (batch.status, batch.outcome) == ("cancelled", "partial")
    assert [unit["state"] for unit in rows_of("unit", batch_id=batch.id)] == ["VALIDATED", "CANCELLED", "CANCELLED"]
    progress = BatchProgress.objects.get(batch=batch)
    assert (progress.units_open, progress.rows_validated, progress.rows_cancelled) == (0, 2, 4)
    assert working.sync().cancelled == [lease.token]
    assert working.sync(commitments=[commit(lease)]).outcomes == [(lease.token, "replica_ended")]
    assert cancel_batches(now=NOW) == 0


def test_a_batch_whose_last_verdict_was_not_followed_up_is_found_by_the_sweep():
    batch = make_batch(units=1)
    for car in (Car(), Car()):
        car.lease(1)
        car.report_all()
    validate_ready(now=NOW)
    Batch.objects.filter(id=batch.id).update(status="in_progress", finalizing_at=None)
    leftovers = find_leftovers(now=NOW)
    assert leftovers.to_assemble == [batch.id]
    assert Batch.objects.get(id=batch.id).status == "finalizing"
    queued = make_batch()
    Batch.objects.filter(id=queued.id).update(status="queued")
    assert find_leftovers(now=NOW).to_split == [queued.id]


def test_reports_that_nobody_was_nudged_about_are_found_by_the_sweep():
    make_batch(units=1)
    car = Car()
    car.lease(1)
    car.report_all()
    assert list_batches_to_review() != []
    sweep()
    assert list_batches_to_review() == []


def test_rows_that_were_handed_out_as_provisional_are_audited_by_cars_after_the_batch_was_completed(monkeypatch):
    monkeypatch.setattr(drain, "_random", lambda: 0.5)
    batch = make_audited_batch(units=1)
    Batch.objects.filter(id=batch.id).update(finality="provisional")
    put_replica(batch, drawn=True)
    validate_ready(now=NOW)
    assert find_leftovers(now=NOW).to_assemble == [batch.id]
    assert assemble_batch(batch_id=batch.id, now=NOW)
    batch.refresh_from_db()
    assert (batch.status, batch.outcome) == ("completed", "full")
    auditor = Car()
    opened = later(settings.FLEET.audit_delay_seconds + settings.FLEET.audit_patience_seconds)
    assert [found.batch_id for found in read_open_batches()] == [batch.id]
    # Every other time a car looks from a random place on.
    (lease,) = next(filter(None, (auditor.lease(1, at=opened + timedelta(minutes=n)) for n in range(60))))
    assert lease.replica.ref.batch_id == batch.id
    auditor.report_all(1.0, at=opened)
    validate_ready(now=opened)
    assert Audit.objects.get(batch=batch, reason="drawn").state == "passed"
    assert read_open_batches() == []


def test_a_completed_batch_that_waited_for_its_audits_is_not_on_the_board():
    batch = make_audited_batch(units=1)
    put_replica(batch, drawn=True)
    validate_ready(now=NOW)
    Batch.objects.filter(id=batch.id).update(status="completed", outcome="full", ended_at=NOW)
    assert read_open_batches() == []


def test_a_batch_that_waits_for_audits_of_a_model_that_was_revoked_is_cancelled_with_what_it_has():
    waiting, done = make_audited_batch(units=1), make_audited_batch(units=1)
    for batch in (waiting, done):
        put_replica(batch)
        ModelAdmission.objects.create(
            model=batch.model,
            sha256=batch.model.blob_id,
            request={},
            state="revoked",
            reason="bad",
            requested_at=NOW,
            decided_at=NOW,
        )
    validate_ready(now=NOW)
    BatchProgress.objects.filter(batch=done).update(rows_final=2)
    assert cancel_batches(now=NOW) == 1
    waiting.refresh_from_db()
    assert (waiting.status, waiting.outcome, waiting.status_reason) == ("cancelled", "partial", "the model was revoked")
    assert Batch.objects.get(id=done.id).status == "finalizing"
    assert find_leftovers(now=NOW).to_assemble == [done.id]


def test_what_a_cancelled_batch_has_becomes_final_with_its_vehicles_next_passed_audit(monkeypatch):
    monkeypatch.setattr(drain, "_random", lambda: 0.5)
    ended, running, car = make_audited_batch(units=1), make_audited_batch(units=1), make_vehicle()
    commit_result(ended, car)
    commit_result(running, car, drawn=True)
    validate_ready(now=NOW)
    Batch.objects.filter(id=ended.id).update(status="cancelling")
    cancel_batches(now=NOW)
    fold_trust(now=NOW)
    assert outcomes_of(ended, car) == {}
    commit_result(running, make_vehicle(), role=AUDIT, state="COMMITTED")
    validate_ready(now=NOW)
    fold_trust(now=NOW)
    assert outcomes_of(ended, car) == outcomes_of(running, car) == {0: "final"}
    assert BatchProgress.objects.get(batch=ended).rows_final == 2
    assert Batch.objects.get(id=ended.id).status == "cancelled"
