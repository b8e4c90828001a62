"""Resolve: what anchors found decides audits and disputes, and audits that no car settles are handed on.

In: anchors' runs that ended, and open audits that wait for too long. Moves: audit OPEN -> PASSED, FAILED, INCONCLUSIVE
or VOID; replica REPORTED -> VALID, INVALID or INCONCLUSIVE; (new) -> VALID, the anchor's output as owner 0's replica;
a unit's result becomes the anchor's, and final. What a failed audit takes back is another stage's work.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction

from workunits.domain.audits.escalation import escalate
from workunits.domain.errors import FleetError, carry_on
from workunits.domain.tensors import check_document
from workunits.pipeline.drain import drain_batch
from workunits.store.anchors import is_anchor_alive
from workunits.store.audits import (
    EndedRun,
    TakenRun,
    WaitingAudit,
    cancel_waiting_runs,
    list_audits,
    list_audits_to_escalate,
    list_ended_runs,
    queue_reviews,
    store_anchor_outputs,
)
from workunits.store.blobs import get_blob_store
from workunits.store.board import get_output_specs
from workunits.store.verdicts import Verdicts, apply_verdicts, lock_verdicts

RUNS_AT_ONCE = 200
AUDITS_AT_ONCE = 500


def resolve_anchor_runs(*, now: datetime) -> bool:
    """Settle what anchors have run since the last call; return whether anything was settled."""
    by_batch: dict[int, list[EndedRun]] = defaultdict(list)
    for run in list_ended_runs(runs_max=RUNS_AT_ONCE):
        by_batch[run.batch_id].append(run)
    return any(carry_on(by_batch.items(), lambda of_batch: _resolve_batch(*of_batch, now)))


def _resolve_batch(batch_id: int, runs: Sequence[EndedRun], now: datetime) -> bool:
    taken = [_check_run(run) for run in runs]
    with transaction.atomic():
        if lock_verdicts(batch_id) is None:
            return False  # whoever holds the lock, or the next sweep, finds the runs again
        queued = store_anchor_outputs(batch_id, taken, now=now)
    if queued:
        drain_batch(batch_id=batch_id, now=now, only=[run.unit_number for run in runs])
    return queued > 0


def _check_run(run: EndedRun) -> TakenRun:
    """Look at an anchor's output before it judges anybody: a malformed one must not convict whoever is right."""
    if run.state == "failed":
        return TakenRun(run, "", 0)
    try:
        data = get_blob_store().read(run.output_blob)
        check_document(data, get_output_specs(run.batch_id), run.rows)
    except FleetError as problem:
        return TakenRun(run, f"its output is of no use: {problem}"[:300], 0)
    return TakenRun(run, "", len(data))


def escalate_audits(*, now: datetime) -> int:
    """Hand on audits that no car settles in time, and those of batches that lease no more; return how many."""
    has_anchor = is_anchor_alive(now)
    waiting = list_audits_to_escalate(
        overdue_before=now - timedelta(seconds=settings.FLEET.audit_patience_seconds),
        held_before=now - timedelta(seconds=settings.FLEET.hold_seconds),
        has_anchor=has_anchor,
        audits_max=AUDITS_AT_ONCE,
    )
    by_batch: dict[int, dict[int, WaitingAudit]] = defaultdict(dict)
    for audit in waiting:
        by_batch[audit.batch_id][audit.unit_number] = audit
    return sum(carry_on(by_batch.items(), lambda of_batch: _escalate_batch(*of_batch, now, has_anchor=has_anchor)))


def _escalate_batch(batch_id: int, waiting: Mapping[int, WaitingAudit], now: datetime, *, has_anchor: bool) -> int:
    verdicts, ended_runs = Verdicts(), []
    with transaction.atomic():
        turn = lock_verdicts(batch_id)
        if turn is None:
            return 0
        for number, known in list_audits(batch_id, list(waiting)).items():
            step = known.open and escalate(
                known.open,
                batch_status=turn.status,
                is_overdue=waiting[number].is_overdue,
                is_held=waiting[number].is_held,
                has_anchor=has_anchor,
                has_run=known.has_run,
                has_failed_run=known.has_failed_run,
            )
            if not step:
                continue
            verdicts.audits.append((number, step.audit))
            if step.run_reason:
                verdicts.runs.append((number, step.run_reason, step.audit.id))
            if step.cancels_run:
                ended_runs.append(number)
        if verdicts.audits:
            cancel_waiting_runs(batch_id, ended_runs)
            apply_verdicts(turn, verdicts, now=now)
        queue_reviews(batch_id, list(waiting))  # where an auditor keeps back its bytes, another one is asked
    return len(verdicts.audits)
