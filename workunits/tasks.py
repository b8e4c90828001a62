"""Celery: thin. Each task takes ids, makes one pipeline call and nudges the next stage, so it shows the order.

    split -> (cars, through dispatch) -> validate -> settle
                                         validate -> assemble

A message is a hint: the rows are the truth, every task is safe twice and safe late, and `sweep` finds what a lost
message left behind.
"""

from __future__ import annotations

import logging
import threading
import time

from celery import Task, shared_task
from django.conf import settings
from django.db import transaction
from django.utils import timezone
from kombu.exceptions import OperationalError

from workunits.pipeline import assemble, credit, recover, split, validate

log = logging.getLogger(__name__)


@shared_task(ignore_result=True)
def split_batch(*, batch_id: int) -> None:
    """Cut a queued batch into work units."""
    split.split_batch(batch_id=batch_id, now=timezone.now())


@shared_task(ignore_result=True)
def validate_ready() -> None:
    """Decide units that have something to review; then assemble batches that are done."""
    if validate.validate_ready(now=timezone.now()):
        for batch_id in recover.find_leftovers(now=timezone.now()).to_assemble:
            send_nudge(assemble_batch, batch_id=batch_id)


@shared_task(ignore_result=True)
def settle_credit() -> None:
    """Aggregate earning items into ledger transfers."""
    credit.settle_credit(now=timezone.now())


@shared_task(ignore_result=True)
def assemble_batch(*, batch_id: int) -> None:
    """Write a finalizing batch's result files; settle first what it earned."""
    credit.settle_credit(now=timezone.now())
    assemble.assemble_batch(batch_id=batch_id, now=timezone.now())


@shared_task(ignore_result=True)
def sweep() -> None:
    """End what will not end by itself and pick up what a lost nudge left. Run every few seconds by beat."""
    now = timezone.now()
    recover.expire_overdue_leases(now=now)
    recover.cancel_batches(now=now)
    validate.validate_ready(now=now)
    leftovers = recover.find_leftovers(now=now)
    for batch_id in leftovers.to_split:
        split.split_batch(batch_id=batch_id, now=now)
    for batch_id in leftovers.to_assemble:
        assemble.assemble_batch(batch_id=batch_id, now=now)


class _Broker:
    """Sends messages; leaves a broker alone for a while that did not answer, for waiting would hold up requests."""

    REST_SECONDS = 10.0

    def __init__(self) -> None:
        self._rests_until = float("-inf")

    def send(self, task: Task[..., None], ids: dict[str, int]) -> None:
        """Send one message; a dead broker loses it, never the request, for the sweep finds the work."""
        if time.monotonic() < self._rests_until:
            return
        try:
            task.apply_async(kwargs=ids, retry=False)
        except OperationalError as problem:
            self._rests_until = time.monotonic() + self.REST_SECONDS
            log.warning("the broker does not answer, the sweep will do %s: %s", task.name, problem)


_broker = _Broker()


def send_nudge(task: Task[..., None], **ids: int) -> None:
    """Send a task's message once the transaction commits."""
    transaction.on_commit(lambda: _broker.send(task, ids))


class _Nudge:
    """Sends a task's message on commit, at most one in `nudge_coalesce_seconds` from this process.

    What is dropped is not lost: the message already under way looks at the whole table, and the sweep at the rest.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sent_at = float("-inf")

    def __call__(self) -> None:
        if settings.CELERY_TASK_ALWAYS_EAGER:
            return
        now = time.monotonic()
        with self._lock:
            if now - self._sent_at < settings.FLEET.nudge_coalesce_seconds:
                return
            self._sent_at = now
        send_nudge(validate_ready)


nudge_validation = _Nudge()
