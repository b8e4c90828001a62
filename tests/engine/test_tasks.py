"""Nudges: sent on commit, few, and never worth a request."""

from __future__ import annotations

import pytest
from kombu.exceptions import OperationalError

from tests.engine.factories import Car, make_batch, rows_of
from workunits import tasks
from workunits.models import Batch

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
    assert Batch.objects.count() == before
