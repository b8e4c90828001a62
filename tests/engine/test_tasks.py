"""Nudges: sent on commit, few, and never worth a request."""

from __future__ import annotations

import pytest
from celery import Celery
from kombu import Queue
from kombu.exceptions import OperationalError

from fleetcompute.celery import app as celery_app
from tests.engine.factories import NOW, Car, make_batch, rows_of
from workunits import tasks
from workunits.models import AnchorRun, Batch

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
