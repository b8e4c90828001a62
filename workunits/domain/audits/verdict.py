"""What becomes of a unit at a level with audits, given all that is known of it: the rule, free of arrival order.

The first output makes the result, which is then provisional. Every other output of the unit, whatever it was leased
for, is a check on that result, and so is the auditor's own commitment. Where an anchor has run the unit, its output
decides: who differs from it loses, who is between is not blamed, and the unit is final. Nothing is ever dropped from
an audit without dropping the result it was about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from workunits.domain.audits.anchored import settle_result, settle_stray_audit
from workunits.domain.audits.case import Case
from workunits.domain.audits.checks import ask_for_audit, check_others
from workunits.domain.audits.rows import (
    ANCHOR,
    CAR,
    DRAWN,
    FLOOR,
    OTHER_CLASS,
    YOUNG,
    AuditedUnit,
    Decision,
    Measure,
    Odds,
)
from workunits.domain.audits.sequence import AuditState
from workunits.domain.quorum import Agreement, ReplicaView, judge_unit
from workunits.domain.replicas import ReplicaRole
from workunits.domain.states import ReplicaState, UnitState


def judge_audited(unit: AuditedUnit, measure: Measure, odds: Odds) -> Decision:
    """Return what becomes of the unit. Repeating it on an unchanged unit changes nothing."""
    case = Case(unit, measure, odds)
    if unit.state == UnitState.OPEN:
        _judge_open(case)
    elif unit.canonical_owner_id is None:
        _judge_ended(case)
    else:
        _judge_result(case, case.by_owner[unit.canonical_owner_id])
    return case.finish()


def is_plain(state: str, replicas: Sequence[ReplicaView]) -> bool:
    """Return whether a unit without a result has its first output and nothing else to think about: the usual case."""
    if state != UnitState.OPEN or len(replicas) != 1:
        return False
    only = replicas[0]
    return only.state == ReplicaState.REPORTED and only.role == ReplicaRole.PRIMARY and not only.drawn


def _judge_open(case: Case) -> None:
    if case.audit is not None:
        # Its result was taken back. A unit has one open audit, so this one ends before another may begin.
        case.audit = replace(case.audit, state=AuditState.VOID.value, detail="the result was taken back")
        case.out.is_done = False
        return
    reported = [r for r in case.replicas if r.state == ReplicaState.REPORTED]
    if case.anchor is not None:
        _accept(case, case.anchor)
    elif reported:
        _accept(case, min(reported, key=lambda r: (r.role != ReplicaRole.PRIMARY, r.owner_id)))
    else:
        _ask_for_result(case)


def _ask_for_result(case: Case) -> None:
    # An auditor whose unit was opened again holds an output that may become the result, with its bytes. They may
    # never come, so another car is asked all the same.
    waiting = [r for r in case.replicas if r.role != ReplicaRole.PRIMARY and r.state == ReplicaState.COMMITTED]
    case.out.asked += [r.owner_id for r in waiting if not r.bytes_wanted]
    counted = [r for r in case.replicas if r.role == ReplicaRole.PRIMARY or r.state == ReplicaState.LEASED]
    judgement = judge_unit(counted, quorum=1, limits=case.odds.limits, compare=_never)
    for owner_id in judgement.cancelled:
        case.move(case.by_owner[owner_id], ReplicaState.CANCELLED)
    if judgement.failure:
        case.out.decided = (UnitState.FAILED.value, None, judgement.failure)
    case.out.needed = judgement.needed


def _never(reported: Sequence[ReplicaView], quorum: int) -> Agreement | None:
    raise ValueError(f"{len(reported)} outputs of {quorum} are here: one of them is the result")


def _accept(case: Case, canonical: ReplicaView) -> None:
    """Make an output the unit's result; a primary that has only its lease is not needed any more."""
    case.out.decided = (UnitState.VALIDATED.value, canonical.owner_id, "")
    if canonical is case.anchor:
        case.out.is_final = True
        case.out.confirmed = 1
    else:
        case.move(canonical, ReplicaState.VALID, role=ReplicaRole.PRIMARY)
        _draw(case, canonical)
    for replica in case.replicas:
        if replica.state == ReplicaState.LEASED and replica.role == ReplicaRole.PRIMARY:
            case.move(replica, ReplicaState.CANCELLED)
    check_others(case, canonical)
    ask_for_audit(case)


def _draw(case: Case, primary: ReplicaView) -> None:
    """Open the audit that the draw or the anchors' floor asks for; an auditor's output is always audited."""
    is_drawn = primary.drawn or primary.role != ReplicaRole.PRIMARY
    is_floor = case.unit.is_floor
    if (is_floor or (is_drawn and primary.young)) and case.has_anchor():
        needs = ANCHOR
    elif not is_drawn:
        return  # the floor is an anchor's work
    elif not primary.young and case.odds.random() < case.odds.other_class_ratio:
        needs = OTHER_CLASS
    else:
        needs = CAR
    reason = FLOOR if not is_drawn else YOUNG if primary.young else DRAWN
    case.audit = case.make_audit(primary, reason, needs)
    if needs == ANCHOR:
        case.order_run(YOUNG if reason == YOUNG else FLOOR)


def _judge_ended(case: Case) -> None:
    """The unit ended without a result: there is nothing to measure by."""
    case.out.needed = 0
    for replica in case.replicas:
        if replica.state == ReplicaState.REPORTED:
            case.move(replica, ReplicaState.INCONCLUSIVE)
    if case.audit is not None:
        case.audit = replace(case.audit, state=AuditState.VOID.value, detail="the unit has no result")


def _judge_result(case: Case, canonical: ReplicaView) -> None:
    anchor = case.anchor
    if anchor is not None and canonical is not anchor:
        settle_result(case, anchor, canonical)
        canonical = anchor
    settle_stray_audit(case, canonical)
    if anchor is None and case.unit.has_run:
        case.out.needed = 0  # whatever is here waits for the anchor
        return
    check_others(case, canonical)
    ask_for_audit(case)
