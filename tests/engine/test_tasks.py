"""Nudges: sent on commit, few, and never worth a request."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from celery import Celery
from django.db import connection
from kombu import Queue
from kombu.exceptions import OperationalError

from fleetcompute.celery import app as celery_app
from tests.engine.audit_rows import AUDIT, finish_run, make_audited_batch
from tests.engine.factories import NOW, Car, make_batch, make_vehicle, rows_of
from tests.engine.trust_rows import commit_result
from workunits import tasks
from workunits.domain.errors import carry_on
from workunits.models import AnchorRun, Batch, OnnxModel, VehicleStanding
from workunits.pipeline import validate

pytestmark = pytest.mark.django_db


@pytest.fixture
def sent(monkeypatch):
    """The names of the tasks whose messages were sent."""
    names: list[str] = []
    monkeypatch.setattr(tasks.validate_ready, "apply_async", lambda **_: names.append("validate_ready"))
    monkeypatch.setattr(tasks, "_broker", tasks._Broker())
    return names


def test_many_nudges_at_once_become_one_message_after_commit(
    sent, settings, monkeypatch, django_capture_on_commit_callbacks
):
    settings.CELERY_TASK_ALWAYS_EAGER = False
    nudge = tasks._Nudge()
    moment = [100.0]
    monkeypatch.setattr("workunits.tasks.time.monotonic", lambda: moment[0])
    with django_capture_on_commit_callbacks(execute=True):
        for _ in range(5):
            nudge()
        assert sent == []
    assert sent == ["validate_ready"]
    moment[0] += settings.FLEET.nudge_coalesce_seconds
    with django_capture_on_commit_callbacks(execute=True):
        nudge()
    assert sent == ["validate_ready"] * 2


def test_a_dead_broker_is_left_alone_for_a_while(sent, monkeypatch, django_capture_on_commit_callbacks):
    moment, attempts = [100.0], []
    monkeypatch.setattr("workunits.tasks.time.monotonic", lambda: moment[0])

    def fail(**_):
        attempts.append(moment[0])
        raise OperationalError

    monkeypatch.setattr(tasks.validate_ready, "apply_async", fail)
    for step in (0.0, 1.0, 5.0, 10.1):
        moment[0] = 100.0 + step
        with django_capture_on_commit_callbacks(execute=True):
            tasks.send_nudge(tasks.validate_ready)
    assert attempts == [100.0, 110.1]


def test_the_sweep_alone_takes_a_batch_from_reports_to_its_result():
    batch = make_batch(units=1)
    for car in (Car(), Car()):
        car.lease(1)
        car.report_all()
    tasks.sweep()
    assert [unit["state"] for unit in rows_of("unit", batch_id=batch.id)] == ["ASSEMBLED"]
    batch.refresh_from_db()
    assert (batch.status, batch.outcome) == ("completed", "full")
    assert batch.result_parquet
    assert batch.result_npz


def test_a_task_for_a_batch_that_does_not_exist_does_nothing():
    before = Batch.objects.count()
    tasks.split_batch(batch_id=2**40)
    tasks.assemble_batch(batch_id=2**40)
    tasks.validate_ready()
    tasks.settle_credit()
    tasks.watch_fleet()
    tasks.learn_tolerances()
    assert Batch.objects.count() == before


def test_anchors_are_told_that_units_wait_and_not_told_again_before_one_has_heard(
    broker_url, settings, monkeypatch, django_capture_on_commit_callbacks
):
    """Nobody may be there to take such a message: they must not pile up."""
    settings.CELERY_TASK_ALWAYS_EAGER = False
    app, sent = Celery(broker=broker_url), []

    def send(task, ids, delay_seconds):
        route = celery_app.amqp.router.route({}, task.name)
        sent.append(route["queue"].name)
        app.send_task(task.name, queue=route["queue"].name)

    monkeypatch.setattr(tasks, "current_app", app)
    monkeypatch.setattr(tasks._broker, "send", send)

    def sweep_twice():
        for _ in range(2):
            with django_capture_on_commit_callbacks(execute=True):
                tasks.sweep()

    sweep_twice()
    assert sent == []
    AnchorRun.objects.create(batch=make_batch(), unit_number=0, reason="young", created_at=NOW)
    sweep_twice()
    assert sent == ["anchor"]
    with app.connection_for_write() as connection:
        assert Queue("anchor", channel=connection.default_channel).purge() == 1
    sweep_twice()
    assert sent == ["anchor"] * 2


def test_a_worker_of_the_anchors_queue_runs_what_waits_until_nothing_does(monkeypatch):
    left = [True, True, False]
    monkeypatch.setattr("workunits.pipeline.anchors.run_next", lambda **_: left.pop(0))
    tasks.run_anchors()
    assert left == []


def lose_an_output(batch):
    """Let a car and its auditor differ about a unit whose result's bytes are gone."""
    commit_result(batch, make_vehicle(), drawn=True)
    validate.validate_ready(now=NOW)
    commit_result(batch, make_vehicle(), 7.0, role=AUDIT)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE replica SET output = NULL, output_blob = %s WHERE batch_id = %s AND role = 0", ["0" * 64, batch.id]
        )


def test_a_unit_whose_bytes_are_gone_keeps_no_other_unit_waiting(caplog):
    broken, batch = make_audited_batch(units=2), make_audited_batch(units=1)
    lose_an_output(broken)
    commit_result(broken, make_vehicle(), unit=1, drawn=True)
    validate.validate_ready(now=NOW)
    commit_result(broken, make_vehicle(), 7.0, unit=1, role=AUDIT)
    commit_result(batch, make_vehicle())
    validate.validate_ready(now=NOW)
    assert f"unit 0 of batch {broken.id} cannot be judged" in caplog.text
    assert [unit["state"] for unit in rows_of("unit", batch_id=batch.id)] == ["VALIDATED"]
    assert [run.unit_number for run in AnchorRun.objects.filter(batch=broken)] == [1]


def test_what_fails_in_one_stage_or_batch_keeps_no_other_waiting():
    broken, batch, loser = make_audited_batch(units=1), make_audited_batch(units=1), make_vehicle()
    commit_result(batch, loser, 7.0, drawn=True)
    validate.validate_ready(now=NOW)
    finish_run(batch, 1.0)
    commit_result(broken, make_vehicle(), drawn=True)
    validate.validate_ready(now=NOW)
    commit_result(broken, make_vehicle(), 7.0, role=AUDIT)
    Batch.objects.filter(id=broken.id).update(contract={"outputs": [{"name": "score"}]})
    OnnxModel.objects.filter(id=broken.model_id).update(outputs=[{"name": "score"}])
    with pytest.raises(ExceptionGroup):
        tasks.sweep()
    assert [row["state"] for row in rows_of("replica", batch_id=batch.id, owner_id=loser.owner_id)] == ["REVOKED"]
    assert VehicleStanding.objects.get(vehicle=loser).life_ends == [1]


def test_each_is_done_and_what_went_wrong_is_said_at_the_end():
    done = []

    def act(number):
        if number % 2:
            raise ValueError(number)
        done.append(number)
        return number

    with pytest.raises(ExceptionGroup) as caught:
        carry_on(range(5), act)
    assert (done, [str(problem) for problem in caught.value.exceptions]) == ([0, 2, 4], ["1", "3"])
    assert carry_on([2, 4], act) == [2, 4]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_eager", [False, True])
def test_a_task_does_not_begin_on_the_connection_that_failed_the_one_before(is_eager):
    from django.db import InterfaceError, OperationalError, connection

    from fleetcompute.celery import leave_a_broken_connection

    def ask() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            return int(cursor.fetchone()[0])

    connection.ensure_connection()
    connection.connection.close()  # as a restart of PostgreSQL leaves it
    with pytest.raises((InterfaceError, OperationalError)):
        ask()
    leave_a_broken_connection(SimpleNamespace(request=SimpleNamespace(is_eager=is_eager)))
    if is_eager:
        with pytest.raises((InterfaceError, OperationalError)):
            ask()
        connection.close()
    assert ask() == 1
