"""A model that is judged wrong whoever runs it is paused, and what honest cars lost by it is given back, once."""

from __future__ import annotations

import dataclasses
import logging
from datetime import timedelta

import pytest

from tests.engine.audit_rows import AUDIT, audits_of, fail_run, finish_run, make_audited_batch
from tests.engine.factories import NOW, later, make_vehicle, rows_of, snapshot
from tests.engine.trust_rows import commit_result
from workunits.models import AnchorMachine, Batch, BatchNotice, Revocation, TrustEvent, VehicleStanding, VehicleTrust
from workunits.pipeline import drain
from workunits.pipeline.alarm import watch_audits, watch_models
from workunits.pipeline.resolve import resolve_anchor_runs
from workunits.pipeline.revoke import apply_revocations, settle_failures
from workunits.pipeline.validate import validate_ready

pytestmark = pytest.mark.django_db

RIGHT, WRONG, BELIEVED = 1.0, 7.0, 10_000
CARS = 6


@pytest.fixture(autouse=True)
def six_audits_are_enough(monkeypatch, settings):
    monkeypatch.setattr(drain, "_random", lambda: 0.5)
    settings.FLEET = dataclasses.replace(settings.FLEET, mismatch_alarm_audits=6)


def believe(vehicle, batch, weight=BELIEVED, name="arm"):
    """Let a vehicle be believed at the batch's level, in a class, and there for the batch's model."""
    for model_id, class_name in ((0, ""), (0, name), (batch.model_id, name)):
        VehicleTrust.objects.create(
            vehicle=vehicle, level=2, model_id=model_id, comparison_class=class_name, weight_microcredits=weight,
            weighed_at=NOW, last_commit_at=NOW,
        )  # fmt: skip


def weights(vehicle):
    rows = VehicleTrust.objects.filter(vehicle=vehicle).order_by("id")
    return [row.weight_microcredits for row in rows]


def lose_all(cars=CARS, *, believed=BELIEVED, honest=0, at=NOW):
    """Return a batch in which cars of one class lost an audit each, with their resets, and those cars."""
    batch, vehicles = make_audited_batch(units=cars + honest + 1), [make_vehicle() for _ in range(cars)]
    for unit, vehicle in enumerate(vehicles):
        if believed:
            believe(vehicle, batch, believed)
        commit_result(batch, vehicle, WRONG, unit=unit, drawn=True, comparison_class="arm")
    for unit in range(cars, cars + honest):
        commit_result(batch, make_vehicle(), RIGHT, unit=unit, drawn=True, comparison_class="arm")
    validate_ready(now=at)
    for unit in range(cars + honest):
        finish_run(batch, RIGHT, unit=unit)
    resolve_anchor_runs(now=at)
    settle_failures(now=at)
    apply_revocations(now=at)
    return batch, vehicles


def test_a_fault_of_a_whole_class_pauses_the_model_and_gives_its_cars_their_trust_back(caplog):
    batch, cars = lose_all()
    other = Batch.objects.create(**{
        field.name: getattr(batch, field.name)
        for field in Batch._meta.concrete_fields
        if field.name not in ("id", "public_id")
    })  # fmt: skip
    assert [weights(car) for car in cars] == [[0, 0, 0]] * CARS
    before = rows_of("replica", batch_id=batch.id)
    with caplog.at_level(logging.ERROR, logger="workunits.pipeline.alarm"):
        assert watch_models(now=later(60)) == 1
    assert len(caplog.records) == 1
    for found in (batch, other):
        found.refresh_from_db()
        assert found.status == "paused"
        assert found.status_reason.startswith("Paused: in arm, results of this model")
        assert BatchNotice.objects.get(batch=found, code="model_mismatch").text == found.status_reason
    for car in cars:
        # The model itself is believed nothing in that class; a minute of decay rounds one off.
        assert weights(car) == [BELIEVED - 1, BELIEVED - 1, 0]
        standing = VehicleStanding.objects.get(vehicle=car)
        assert (standing.resets, standing.life_ends, standing.state) == ([], [1], "normal")
        assert TrustEvent.objects.get(vehicle=car, kind="rolled_back").sequence == 1
    # What was taken back stays taken back.
    assert rows_of("replica", batch_id=batch.id) == before
    assert {row["state"] for row in before if row["owner_id"]} == {"REVOKED"}
    assert Revocation.objects.count() == CARS
    assert watch_models(now=later(120)) == 0
    assert [weights(car) for car in cars] == [[BELIEVED - 1, BELIEVED - 1, 0]] * CARS


@pytest.mark.parametrize(
    "swarm",
    [{"honest": CARS}, {"believed": 0}, {"believed": 100}, {"cars": 4, "honest": 3}],
    ids=["as many honest clusters", "never believed", "hardly believed", "too few clusters"],
)
def test_a_swarm_cannot_have_its_own_penalties_taken_back(swarm):
    batch, _ = lose_all(**swarm)
    before = (
        snapshot(batch),
        list(VehicleTrust.objects.order_by("id").values()),
        list(VehicleStanding.objects.values()),
    )
    assert watch_models(now=later(60)) == 0
    assert before == (
        snapshot(batch), list(VehicleTrust.objects.order_by("id").values()), list(VehicleStanding.objects.values()),
    )  # fmt: skip
    assert Batch.objects.get(id=batch.id).status == "in_progress"
    assert not TrustEvent.objects.filter(kind="rolled_back").exists()


def test_a_batch_that_begins_after_the_alarm_of_its_model_is_paused_once_and_whoever_resumes_it_has_read_why():
    batch, _ = lose_all()
    newcomer, other = make_audited_batch(units=1), make_audited_batch(units=1)
    watch_models(now=later(1))
    Batch.objects.filter(id=newcomer.id).update(model_id=batch.model_id)
    watch_models(now=later(300))
    for each in (batch, newcomer, other):
        each.refresh_from_db()
    assert [each.status for each in (batch, newcomer, other)] == ["paused", "paused", "in_progress"]
    assert newcomer.status_reason == batch.status_reason
    assert BatchNotice.objects.get(batch=newcomer).code == "model_paused"
    Batch.objects.update(status="in_progress", status_reason="")
    watch_models(now=later(600))
    assert set(Batch.objects.values_list("status", flat=True)) == {"in_progress"}
    late = make_audited_batch(units=1)
    Batch.objects.filter(id=late.id).update(model_id=batch.model_id)
    watch_models(now=NOW + timedelta(days=8))
    assert Batch.objects.get(id=late.id).status == "in_progress"


def test_a_vehicle_is_given_back_its_trust_once_in_thirty_days():
    _, cars = lose_all()
    TrustEvent.objects.create(vehicle=cars[0], at=NOW - timedelta(days=29), kind="rolled_back")
    TrustEvent.objects.create(vehicle=cars[1], at=NOW - timedelta(days=31), kind="rolled_back")
    assert watch_models(now=later(60)) == 1
    assert weights(cars[0]) == [0, 0, 0]
    assert weights(cars[1])[0] > 0
    assert len(VehicleStanding.objects.get(vehicle=cars[0]).resets) == 1


def test_a_vehicle_that_lost_with_another_model_too_keeps_its_penalty():
    _, cars = lose_all()
    other = make_audited_batch(units=1)
    (ended,) = VehicleStanding.objects.get(vehicle=cars[0]).life_ends
    other.audits.create(
        vehicle=cars[0], owner_id=cars[0].owner_id, unit_number=0, sequence=ended, level=2,
        weight_microcredits=50, reason="drawn", needs="car", state="failed", created_at=NOW, opens_at=NOW,
        resolved_at=NOW, settled_at=NOW, primary_class="arm",
    )  # fmt: skip
    assert watch_models(now=later(60)) == 1
    assert weights(cars[0]) == [0, 0, 0]
    assert weights(cars[1])[0] > 0


@pytest.mark.parametrize(("is_operators", "state"), [(False, "normal"), (True, "quarantined")])
def test_a_quarantine_ends_with_the_reset_that_brought_it_unless_an_operator_ordered_it(is_operators, state):
    _, cars = lose_all()
    standing = VehicleStanding.objects.get(vehicle=cars[0])
    standing.state, standing.reason = "quarantined", "because"
    standing.quarantined_at = later(5) if is_operators else standing.resets[0]
    standing.save()
    watch_models(now=later(60))
    assert VehicleStanding.objects.get(vehicle=cars[0]).state == state


def said(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]


def dispute(batch, unit=0):
    """Let two cars differ about a unit."""
    commit_result(batch, make_vehicle(), RIGHT, unit=unit, drawn=True)
    validate_ready(now=NOW)
    commit_result(batch, make_vehicle(), WRONG, unit=unit, role=AUDIT)
    validate_ready(now=NOW)


def test_operators_read_of_audits_that_nobody_settles_and_whether_an_anchor_is_there(caplog):
    batch = make_audited_batch(units=2)
    dispute(batch)
    day = timedelta(days=1)
    assert (watch_audits(now=NOW + day - timedelta(seconds=1)), said(caplog)) == (0, [])
    assert watch_audits(now=NOW + day) == 2
    text = (
        "1 audits are open for more than a day and hold up what their vehicles did later; the oldest, of unit 0 of"
        f" batch {batch.id}, since {NOW.isoformat()}"
    )
    assert said(caplog) == [text, "1 units wait for an anchor for more than a day: none is there"]
    caplog.clear()
    AnchorMachine.objects.create(name="anchor", seen_at=NOW + day)
    watch_audits(now=NOW + day)
    assert said(caplog) == [text, "1 units wait for an anchor for more than a day: one is there"]
    finish_run(batch, RIGHT)
    resolve_anchor_runs(now=NOW + day)
    assert watch_audits(now=NOW + day) == 0


def test_operators_read_of_models_that_no_anchor_can_run(caplog):
    batch = make_audited_batch(units=2)
    for unit in range(2):
        dispute(batch, unit)
        run = fail_run(batch, unit=unit)
        run.done_at = later(unit)
        run.save()
    resolve_anchor_runs(now=later(2))
    assert watch_audits(now=later(60)) == 1
    (text,) = said(caplog)
    assert text == (
        f"no anchor could run 2 units of model {batch.model_id}, so nobody is blamed for wrong results of them:"
        " out of memory"
    )
    assert {audit.detail for audit in audits_of(batch, reason="drawn")} == {"no anchor could run it"}
    assert watch_audits(now=later(3602)) == 0
