"""What becomes of an open audit that no car settles: an anchor, any car, or the result is dropped with its audit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from workunits.domain.audits.rows import ANCHOR, CAR, CLASS, DISPUTE, OTHER_CLASS, OVERDUE, YOUNG, AuditRow
from workunits.domain.audits.sequence import AuditState
from workunits.domain.states import BatchStatus

# Of a completed batch cars run nothing but its audits.
LEASING: Final = (BatchStatus.IN_PROGRESS, BatchStatus.PAUSED, BatchStatus.FINALIZING, BatchStatus.COMPLETED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Escalation:
    """What to write: the audit as it is from now on, why an anchor is to run the unit, whether a waiting run ends."""

    audit: AuditRow
    run_reason: str = ""
    cancels_run: bool = False


def escalate(
    audit: AuditRow,
    *,
    batch_status: str,
    is_overdue: bool,
    is_held: bool,
    has_anchor: bool,
    has_run: bool,
    has_failed_run: bool,
) -> Escalation | None:
    """Return what to do about an open audit, or None where it can only wait. `is_held`: it has for the hold window.

    Whoever lets audits lapse gains nothing by it: an anchor takes them over, and without one they stay open, or, where
    the batch ended for good, the audited result is taken back with its audit, without blame. A batch that is paused is
    waited for as long as the hold window, for an open audit holds up all that its vehicle did later, for others too.
    """
    is_dispute = audit.stage != ""
    if has_run and (has_anchor or is_dispute):
        return None  # it is in the anchors' queue
    if (is_dispute or has_anchor) and not has_failed_run:
        waited = CLASS if audit.needs == OTHER_CLASS else YOUNG if audit.reason == YOUNG else OVERDUE
        return Escalation(audit=replace(audit, needs=ANCHOR), run_reason=DISPUTE if is_dispute else waited)
    if not is_overdue:
        return None
    if batch_status in LEASING and not (batch_status == BatchStatus.PAUSED and is_held):
        return Escalation(audit=replace(audit, needs=CAR), cancels_run=has_run) if audit.needs != CAR else None
    said = "its batch was paused" if batch_status == BatchStatus.PAUSED else "its batch ended unaudited"
    return Escalation(
        audit=replace(audit, state=AuditState.VOID.value, detail=said, drops_result=True),
        cancels_run=has_run,
    )
