"""Recover: end what will not end by itself, and find what a lost nudge left behind.

Moves: replica LEASED/COMMITTED -> EXPIRED or CANCELLED; unit OPEN -> CANCELLED; batch CANCELLING -> CANCELLED, a
running one -> CANCELLING where its model was revoked, IN_PROGRESS -> FINALIZING where the worker that should have done
so died. Safe to run at any time, by any number.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from workunits.domain.states import BatchStatus
from workunits.store.admissions import cancel_revoked_batches
from workunits.store.batches import start_finalizing
from workunits.store.recovery import (
    cancel_open_units,
    expire_leases,
    finish_cancelled,
    forget_pairings,
    has_waiting_anchor_runs,
    list_batch_ids,
    list_batches_to_assemble,
    list_undrained_batch_ids,
)
from workunits.store.verdicts import lock_verdicts

VEHICLES_PER_SWEEP_STEP = 500
UNITS_PER_CANCEL_STEP = 5_000
PAIRING_KEPT = timedelta(days=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Leftovers:
    """Work that stands waiting in the tables, for the caller to nudge."""

    to_split: list[int]
    to_assemble: list[int]
    to_anchors: bool


def expire_overdue_leases(*, now: datetime) -> int:
    """End every lease whose deadline has passed; return how many."""
    total = 0
    audits_from = now + timedelta(seconds=settings.FLEET.audit_rest_seconds)
    while True:
        with transaction.atomic():
            expired = expire_leases(now=now, audits_from=audits_from, vehicles_max=VEHICLES_PER_SWEEP_STEP)
        total += expired
        if expired == 0:
            return total


def forget_old_pairings(*, now: datetime) -> int:
    """Remove pairings that nobody approved, a day after they expired; until then a car is told what became of it."""
    return forget_pairings(expired_before=now - PAIRING_KEPT)


def cancel_batches(*, now: datetime) -> int:
    """End the open units of every batch that is being cancelled; return how many batches are cancelled now.

    A batch whose model was revoked is among them: no car would run its units any more.
    """
    finished = 0
    cancel_revoked_batches()
    for batch_id in list_batch_ids(BatchStatus.CANCELLING):
        while True:
            with transaction.atomic():
                if lock_verdicts(batch_id) is None:
                    break  # a verdict is being written; the next sweep goes on
                units_open = cancel_open_units(
                    batch_id, reason="the batch was cancelled", now=now, units_max=UNITS_PER_CANCEL_STEP
                )
                if units_open == 0:
                    finished += finish_cancelled(batch_id, now=now)
                    break
    return finished


def find_leftovers(*, now: datetime) -> Leftovers:
    """Return what waits for a stage; moves batches on whose units are all decided."""
    for batch_id in list_undrained_batch_ids():
        start_finalizing(batch_id, now=now)
    return Leftovers(
        to_split=list_batch_ids(BatchStatus.QUEUED),
        to_assemble=list_batches_to_assemble(),
        to_anchors=has_waiting_anchor_runs(),
    )
