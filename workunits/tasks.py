"""Celery: thin. Each task takes ids, makes one pipeline call and nudges the next stage, so it shows the order.

    split -> (cars, through dispatch) -> validate -> resolve -> settle failures -> revoke -> fold trust -> assemble
                                         validate -> settle credit

What a level with audits adds lies between validate and assemble: anchors' findings, what a lost audit takes back, and
what is believed and final from then on.

A message is a hint: the rows are the truth, every task is safe twice and safe late, and `sweep` finds what a lost
message left behind.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from datetime import datetime
from functools import partial
from typing import Any, Protocol

from celery import Task, current_app, shared_task
from django.conf import settings
from django.db import transaction
from django.utils import timezone
from kombu import Queue
from kombu.exceptions import ChannelError, OperationalError

from workunits.domain.errors import carry_on
from workunits.pipeline import (
    alarm,
    anchors,
    assemble,
    calibrate,
    clusters,
    credit,
    recover,
    resolve,
    revoke,
    split,
    trust,
    validate,
)

log = logging.getLogger(__name__)

# Where fleetcompute.celery sends `run_anchors`. Its workers run on machines that operators trust with results:
# `celery -A fleetcompute worker -Q anchor -c 1`.
ANCHOR_QUEUE = "anchor"
# Well below the time after which the broker would hand the message to another worker as well.
ANCHOR_SECONDS = 600.0


class _Stage(Protocol):
    def __call__(self, *, now: datetime) -> object:
        """Do what waits for the stage."""


@shared_task(ignore_result=True)
def split_batch(*, batch_id: int) -> None:
    """Cut a queued batch into work units."""
    split.split_batch(batch_id=batch_id, now=timezone.now())


@shared_task(ignore_result=True)
def validate_ready() -> None:
    """Decide units that have something to review, with all that follows; then assemble batches that are done."""
    if _judge(now=timezone.now()):
        for batch_id in recover.find_leftovers(now=timezone.now()).to_assemble:
            send_nudge(assemble_batch, batch_id=batch_id)


def _judge(*, now: datetime) -> bool:
    """Take verdicts and their consequences, each stage on what the one before it left; return whether a batch may end.

    A unit that is opened again, by an anchor's finding or a lost audit, is looked at by the next call. A stage that
    fails for one batch or vehicle keeps no other stage waiting, here and in the sweep.
    """
    stages: tuple[_Stage, ...] = (
        validate.validate_ready,
        resolve.resolve_anchor_runs,
        revoke.settle_failures,
        revoke.apply_revocations,
        trust.fold_trust,
    )
    may_end, *_, folded = carry_on(stages, lambda stage: stage(now=now))
    return bool(may_end or folded)


@shared_task(ignore_result=True)
def settle_credit() -> None:
    """Aggregate earning items into ledger transfers."""
    credit.settle_credit(now=timezone.now())


@shared_task(ignore_result=True)
def assemble_batch(*, batch_id: int) -> None:
    """Write a finalizing batch's result files; settle first what it earned."""
    now = timezone.now()
    stages: tuple[_Stage, ...] = (credit.settle_credit, partial(assemble.assemble_batch, batch_id=batch_id))
    carry_on(stages, lambda stage: stage(now=now))


@shared_task(ignore_result=True)
def sweep() -> None:
    """End what will not end by itself and pick up what a lost nudge left. Run every few seconds by beat."""
    now = timezone.now()
    stages: tuple[_Stage, ...] = (
        recover.expire_overdue_leases,
        recover.cancel_batches,
        recover.forget_old_pairings,
        resolve.escalate_audits,
        trust.force_audits,
        _judge,
        _pick_up,
    )
    carry_on(stages, lambda stage: stage(now=now))


def _pick_up(*, now: datetime) -> None:
    leftovers = recover.find_leftovers(now=now)
    if leftovers.to_anchors:
        _nudge_anchors()
    carry_on(leftovers.to_split, lambda batch_id: split.split_batch(batch_id=batch_id, now=now))
    carry_on(leftovers.to_assemble, lambda batch_id: assemble.assemble_batch(batch_id=batch_id, now=now))


@shared_task(ignore_result=True)
def run_anchors() -> None:
    """Run what waits for an anchor on this machine, for a while. Only workers of the queue `anchor` take this."""
    began_at = time.monotonic()
    while time.monotonic() - began_at < ANCHOR_SECONDS:
        if not anchors.run_next(worker=socket.gethostname(), now=timezone.now()):
            return


@shared_task(ignore_result=True)
def call_anchors() -> None:
    """Let anchors that are workers say that they are there, also while nothing waits. Run by beat.

    Nothing is asked of anchors that nobody has heard of for two minutes (store.anchors.ALIVE_FOR).
    """
    _nudge_anchors()


def _nudge_anchors() -> None:
    """Tell the workers of queue `anchor` that units wait, if there are any: a message that nobody took is enough."""
    if settings.CELERY_TASK_ALWAYS_EAGER:
        return
    try:
        with current_app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1)
            queue: Any = Queue(ANCHOR_QUEUE, channel=connection.default_channel)  # annotated wrongly by kombu
            waiting = queue.queue_declare(passive=True).message_count
    except ChannelError:
        waiting = 0  # as the broker puts it that a queue is empty
    except OperationalError as problem:
        log.warning("the broker does not answer, anchors that poll will do: %s", problem)
        return
    if not waiting:
        send_nudge(run_anchors)


@shared_task(ignore_result=True)
def learn_tolerances() -> None:
    """Correct tolerances by what audits have shown. Run by beat."""
    calibrate.learn_tolerances(now=timezone.now())


@shared_task(ignore_result=True)
def watch_fleet() -> None:
    """Look for models that are judged wrong, for audits that nobody settles, and at what re-runs have cost."""
    alarm.watch_models(now=timezone.now())
    alarm.watch_audits(now=timezone.now())
    credit.check_verification_account()


@shared_task(ignore_result=True)
def compute_clusters() -> None:
    """Find out which owners may be one party. Run every few minutes by beat."""
    clusters.compute_clusters(now=timezone.now())


@shared_task(ignore_result=True)
def cap_batches() -> None:
    """Note who holds his share of each running batch. Run every few seconds by beat."""
    clusters.cap_batches(now=timezone.now())


class _Broker:
    """Sends messages; leaves a broker alone for a while that did not answer, for waiting would hold up requests."""

    REST_SECONDS = 10.0

    def __init__(self) -> None:
        self._rests_until = float("-inf")

    def send(self, task: Task[..., None], ids: dict[str, int], delay_seconds: float) -> None:
        """Send one message, to be taken after a while; a dead broker loses it, never the request: the sweep helps."""
        if time.monotonic() < self._rests_until:
            return
        try:
            task.apply_async(kwargs=ids, countdown=delay_seconds, retry=False)
        except OperationalError as problem:
            self._rests_until = time.monotonic() + self.REST_SECONDS
            log.warning("the broker does not answer, the sweep will do %s: %s", task.name, problem)


_broker = _Broker()


def send_nudge(task: Task[..., None], *, delay_seconds: float = 0.0, **ids: int) -> None:
    """Send a task's message once the transaction commits."""
    transaction.on_commit(lambda: _broker.send(task, ids, delay_seconds))


class _Nudge:
    """Sends a task's message on commit, at most one in `nudge_coalesce_seconds` from this process.

    The message is taken at the end of that time, so it finds everything that was dropped in favour of it, and finds
    it together: verdicts cost three times as much in handfuls as in hundreds.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sent_at = float("-inf")

    def __call__(self) -> None:
        if settings.CELERY_TASK_ALWAYS_EAGER:
            return
        now, window_seconds = time.monotonic(), settings.FLEET.nudge_coalesce_seconds
        with self._lock:
            if now - self._sent_at < window_seconds:
                return
            self._sent_at = now
        send_nudge(validate_ready, delay_seconds=window_seconds)


nudge_validation = _Nudge()
