"""The queue of units that operators' machines are to run, and those machines."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from django.db.models import F

from workunits.models import AnchorMachine, AnchorRun
from workunits.store.db import execute, fetch_one

# A machine says that it is there well within this time, also while it runs a unit.
ALIVE_FOR: Final = timedelta(minutes=2)
# Of one unit, by whichever anchors.
ATTEMPTS_MAX: Final = 3
# An anchor that has not ended a run by then, beyond the contract's time for it, has died.
LOST_GRACE_SECONDS: Final = 300.0
TEXT_CHARS_MAX: Final = 300


class AnchorOrder(NamedTuple):
    """A unit to be run by an anchor, why, and for which audit, if for one."""

    batch_id: int
    unit_number: int
    reason: str
    audit_id: int | None = None


class ClaimedRun(NamedTuple):
    """A run that an anchor has taken, the how manieth try it is, and where the unit's input lies."""

    id: int
    batch_id: int
    unit_number: int
    attempt: int
    rows: int
    shard_sha256: str
    byte_start: int
    byte_end: int
    input_digest: bytes


def order_runs(orders: Sequence[AnchorOrder], *, now: datetime) -> int:
    """Queue runs in the caller's transaction; return how many were not under way already."""
    return execute(
        "order_anchor_runs",
        {
            "batches": [order.batch_id for order in orders],
            "units": [order.unit_number for order in orders],
            "reasons": [order.reason for order in orders],
            "audits": [order.audit_id for order in orders],
            "now": now,
        },
    )


def claim_run(worker: str, now: datetime) -> ClaimedRun | None:
    """Take the run that is wanted most; None where none waits."""
    row = fetch_one("claim_anchor_run", {"worker": worker, "now": now})
    if row is None:
        return None
    *columns, digest = row
    return ClaimedRun._make((*columns, bytes(digest)))


def release_lost_runs(now: datetime) -> int:
    """Have runs taken again whose anchor has died; return how many."""
    parameters = {"now": now, "attempts_max": ATTEMPTS_MAX, "grace_seconds": LOST_GRACE_SECONDS}
    return execute("release_lost_runs", parameters)


def finish_run(
    run: ClaimedRun, worker: str, *, sha256: str, comparison_class: str, seconds: float, now: datetime
) -> bool:
    """Note a run's output, whose blob has its row; False where the run was taken from this anchor meanwhile."""
    return _end(
        run,
        worker,
        state=AnchorRun.State.DONE.value,
        done_at=now,
        output_blob=sha256,
        output_digest=bytes.fromhex(sha256),
        comparison_class=comparison_class,
        seconds=seconds,
        error="",
    )


def fail_run(run: ClaimedRun, worker: str, *, reason: str, now: datetime) -> bool:
    """Note why a run came to nothing: it waits for another try, or has failed where it was the last."""
    reason = reason[:TEXT_CHARS_MAX]
    if run.attempt < ATTEMPTS_MAX:
        return _end(run, worker, state=AnchorRun.State.WAITING.value, error=reason)
    return _end(run, worker, state=AnchorRun.State.FAILED.value, error=reason, done_at=now)


def give_back_run(run: ClaimedRun, worker: str) -> bool:
    """Let another anchor have a run that this one has not tried to its end."""
    return _end(run, worker, state=AnchorRun.State.WAITING.value, attempts=F("attempts") - 1)


def _end(run: ClaimedRun, worker: str, **changes: object) -> bool:
    held = AnchorRun.objects.filter(
        id=run.id, state=AnchorRun.State.RUNNING.value, claimed_by=worker, attempts=run.attempt
    )
    return held.update(**changes) == 1


def note_machine(name: str, now: datetime, *, comparison_class: str = "", problem: str = "") -> None:
    """Write that a machine is there, and why it cannot run anything, if so."""
    AnchorMachine.objects.bulk_create(
        [AnchorMachine(name=name, seen_at=now, comparison_class=comparison_class, problem=problem[:TEXT_CHARS_MAX])],
        update_conflicts=True,
        unique_fields=["name"],
        update_fields=["seen_at", "comparison_class", "problem"],
    )


def had_problem(name: str, since: datetime) -> bool:
    """Return whether a machine found since then that it cannot run anything."""
    return AnchorMachine.objects.filter(name=name, seen_at__gt=since).exclude(problem="").exists()


def is_anchor_alive(now: datetime) -> bool:
    """Return whether a machine was heard of lately that can run units."""
    return AnchorMachine.objects.filter(seen_at__gt=now - ALIVE_FOR, problem="").exists()
