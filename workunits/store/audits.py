"""Audits as rows: what is known of a unit's, and how they are opened, escalated and resolved."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from workunits.domain.audits.rows import ANCHOR, FLOOR, OVERDUE, YOUNG, AuditRow
from workunits.domain.audits.sequence import AuditState
from workunits.models import AnchorRun
from workunits.store.anchors import AnchorOrder, order_runs
from workunits.store.db import execute, fetch_all


class UnitAudits(NamedTuple):
    """A unit's open audit, whether a result of it was lost or left undecided before (by owner), and anchors' runs."""

    open: AuditRow | None = None
    settled_owner_ids: frozenset[int] = frozenset()
    has_run: bool = False
    has_failed_run: bool = False


NO_AUDITS = UnitAudits()


def list_audits(batch_id: int, units: Sequence[int]) -> dict[int, UnitAudits]:
    """Return what is known of the audits of these units; those without any are left out."""
    if not units:
        return {}
    found: dict[int, UnitAudits] = {}
    for kind, number, *columns in fetch_all("list_audits_of_units", {"batch_id": batch_id, "units": list(units)}):
        audits = found.get(number, NO_AUDITS)
        found[number] = _with_run(audits, columns[8]) if kind == "run" else _with_audit(audits, columns)
    return found


def _with_run(audits: UnitAudits, state: str) -> UnitAudits:
    if state == "failed":
        return audits._replace(has_failed_run=True)
    return audits._replace(has_run=True)


def _with_audit(audits: UnitAudits, columns: Sequence[Any]) -> UnitAudits:
    audit = AuditRow(**dict(zip(_COLUMNS, columns, strict=True)))
    if audit.state != AuditState.OPEN:
        return audits._replace(settled_owner_ids=audits.settled_owner_ids | {audit.owner_id})
    return audits._replace(open=audit)


# In the order of list_audits_of_units.
_COLUMNS = (
    "id", "owner_id", "vehicle_id", "sequence", "level", "weight", "reason", "needs", "state", "opens_at",
    "primary_class", "auditor_vehicle_id", "auditor_owner_id", "auditor_class", "stage", "distance", "detail",
)  # fmt: skip


def write_audits(audits: Sequence[tuple[int, AuditRow]]) -> str:
    """Return audits of some units as the JSON that the statements read."""
    return json.dumps([_as_json(number, audit) for number, audit in audits])


def _as_json(number: int, audit: AuditRow) -> dict[str, Any]:
    row = {"unit_number": number, **dataclasses.asdict(audit), "opens_at": audit.opens_at.isoformat()}
    if audit.distance is not None and not math.isfinite(audit.distance):
        row["distance"] = "Infinity"  # as PostgreSQL reads it; JSON has no such number
    return row


def open_audits(batch_id: int, audits: Sequence[tuple[int, AuditRow]], now: datetime) -> int:
    """Open audits of results that stand, one a unit; return how many units had none open.

    Cars may lease them at once where they are open to cars; the others are ordered from an anchor. Runs in the
    caller's transaction, which holds the batch's verdict lock.
    """
    rows = fetch_all("open_audits", {"batch_id": batch_id, "audits": write_audits(audits), "now": now})
    order_audit_runs(
        batch_id,
        [(number, run_reason(reason), audit_id) for audit_id, number, reason, needs in rows if needs == ANCHOR],
        now,
    )
    return len(rows)


def run_reason(audit_reason: str) -> str:
    """Return why an anchor runs a unit, given why it is audited."""
    return audit_reason if audit_reason in (YOUNG, FLOOR) else OVERDUE


def order_audit_runs(batch_id: int, runs: Sequence[tuple[int, str, int | None]], now: datetime) -> int:
    """Order anchors' runs, given as unit, reason and audit; return how many were not under way already."""
    if not runs:
        return 0
    orders = [
        AnchorOrder(batch_id=batch_id, unit_number=number, reason=reason, audit_id=audit_id)
        for number, reason, audit_id in runs
    ]
    return order_runs(orders, now=now)


class EndedRun(NamedTuple):
    """An anchor's run that ended, done or failed. `rows`: how many its output has to have."""

    id: int
    batch_id: int
    unit_number: int
    state: str
    output_blob: str
    rows: int


def list_ended_runs(*, runs_max: int) -> list[EndedRun]:
    """Return anchors' runs that ended and were not looked at yet, by batch and unit."""
    # Nearly always there are none, and the statement below is planned for every lane.
    if not AnchorRun.objects.filter(state__in=["done", "failed"], resolved_at__isnull=True).exists():
        return []
    return [EndedRun._make(row) for row in fetch_all("list_runs_to_resolve", {"runs_max": runs_max})]


class TakenRun(NamedTuple):
    """An ended run as it was found: why its output is of no use, if so, else its size in bytes."""

    run: EndedRun
    problem: str
    size_bytes: int


def store_anchor_outputs(batch_id: int, runs: Sequence[TakenRun], *, now: datetime) -> int:
    """Put anchors' outputs beside the cars' and queue their units for review; return how many were queued.

    Runs in the caller's transaction, which holds the batch's verdict lock. A run that another worker took is left out.
    """
    return execute(
        "store_anchor_outputs",
        {
            "batch_id": batch_id,
            "run_ids": [taken.run.id for taken in runs],
            "problems": [taken.problem for taken in runs],
            "sizes": [taken.size_bytes for taken in runs],
            "rows": [taken.run.rows for taken in runs],
            "now": now,
        },
    )


class WaitingAudit(NamedTuple):
    """An open audit that waits too long (`is_overdue`), for the hold window (`is_held`), or of a batch that ended."""

    batch_id: int
    unit_number: int
    batch_status: str
    is_overdue: bool
    is_held: bool


def list_audits_to_escalate(
    *, overdue_before: datetime, held_before: datetime, has_anchor: bool, audits_max: int
) -> list[WaitingAudit]:
    """Return open audits that something has to be done about, oldest first."""
    parameters = {
        "overdue_before": overdue_before,
        "held_before": held_before,
        "has_anchor": has_anchor,
        "audits_max": audits_max,
    }
    return [WaitingAudit._make(row) for row in fetch_all("list_audits_to_escalate", parameters)]


def queue_reviews(batch_id: int, units: Sequence[int]) -> None:
    """Have these units looked at again."""
    execute("queue_reviews", {"batch_id": batch_id, "units": list(units)})


def cancel_waiting_runs(batch_id: int, units: Sequence[int]) -> int:
    """Take back runs that no anchor has begun; return how many."""
    waiting = AnchorRun.objects.filter(
        batch_id=batch_id, unit_number__in=units, state=AnchorRun.State.WAITING.value
    ).exclude(reason=AnchorRun.Reason.DISPUTE.value)
    return waiting.update(state=AnchorRun.State.CANCELLED.value)
