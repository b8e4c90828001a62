"""An anchor's output judges what was believed: the result, and those that had agreed with a result that loses."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from workunits.domain.audits.case import Case, end_audit, end_audit_by
from workunits.domain.audits.ladder import Finding, Stage, Step, judge_by_anchor, settle_dispute
from workunits.domain.audits.rows import ANCHOR, AUDITING, FORCED
from workunits.domain.audits.sequence import AuditState
from workunits.domain.comparison import MISMATCH_MIN
from workunits.domain.quorum import ReplicaView
from workunits.domain.replicas import ANCHOR_OWNER_ID
from workunits.domain.states import ReplicaState, UnitState

# A sketch adds rows up: what it alone says of somebody must be beyond what rows add up to that are all inconclusive
# (less than four tolerances each, and a third of a tolerance is allowed for each).
SKETCH_MARGIN: Final = 12.0


def settle_result(case: Case, anchor: ReplicaView, primary: ReplicaView) -> None:
    """Let the anchor's output judge the result, once, and take its place where no file holds the result yet."""
    distance = case.measure.distance(anchor, primary)
    state = judge_by_anchor(distance)
    if case.audit is None and state != AuditState.PASSED and not case.unit.is_settled:
        case.audit = case.make_audit(primary, FORCED, ANCHOR)
    has_audit = case.audit is not None and case.audit.owner_id == primary.owner_id
    if case.audit is not None and has_audit:
        ended = end_audit(case.audit, state, anchor, Stage.ANCHOR, distance)
        case.audit = replace(ended, detail=_find_companion(case, anchor, primary, distance))
    if state == AuditState.FAILED and not case.unit.is_settled:
        _judge_accomplices(case, anchor, primary)
    if case.unit.state == UnitState.VALIDATED:
        case.out.decided = (UnitState.VALIDATED.value, ANCHOR_OWNER_ID, "")
        case.out.is_final = True
    # An anchor's output is the best answer to try others with, whatever the result before it was.
    case.out.confirmed += case.out.is_final or (has_audit and state == AuditState.PASSED)


def settle_stray_audit(case: Case, canonical: ReplicaView) -> None:
    """End an audit whose result is not the unit's any more: by the anchor's output, or because it was taken back."""
    audit = case.open_audit
    if audit is None or audit.owner_id == canonical.owner_id:
        return
    audited = case.by_owner.get(audit.owner_id)
    if audited is None or audited.state != ReplicaState.VALID:
        case.audit = replace(audit, state=AuditState.VOID.value, detail="the result was taken back")
    elif case.anchor is not None:
        distance = case.measure.distance(case.anchor, audited)
        case.audit = end_audit(audit, judge_by_anchor(distance), case.anchor, Stage.ANCHOR, distance)


def _judge_accomplices(case: Case, anchor: ReplicaView, loser: ReplicaView) -> None:
    for other in case.replicas:
        if other.state != ReplicaState.VALID or other is loser or other is anchor:
            continue
        finding = case.measure.find(anchor, other)
        if finding.step != Step.AGREES and _is_accomplice(case, loser, other, finding):
            lost = case.make_audit(other, AUDITING, ANCHOR)
            case.out.audits.append(end_audit_by(lost, AuditState.FAILED, anchor, finding._replace(stage=Stage.ANCHOR)))


def _is_accomplice(case: Case, loser: ReplicaView, other: ReplicaView, finding: Finding) -> bool:
    """Return whether an output that was believed because it agreed with the loser's is as wrong.

    Where its bytes never came, its digest says that it is the loser's output, or its sketch that it is far off.
    """
    if other.digest is not None:
        return judge_by_anchor(finding.distance or 0.0) == AuditState.FAILED
    is_far = finding.distance is not None and finding.distance >= SKETCH_MARGIN * MISMATCH_MIN
    return is_far or case.measure.find(loser, other).stage == Stage.DIGEST


def _find_companion(case: Case, anchor: ReplicaView, primary: ReplicaView, distance: float) -> str:
    """Say where the other side lost as well and agrees with the loser: a runtime may be at fault."""
    for other in case.replicas:
        if other.state == ReplicaState.REPORTED and other is not primary:
            outcome = settle_dispute(
                distance, case.measure.distance(anchor, other), case.measure.distance(primary, other)
            )
            if outcome.is_common:
                return f"owner {other.owner_id} returned the same: a runtime may be at fault"
    return ""
