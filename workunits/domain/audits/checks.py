"""Outputs measured by the result of their unit: agreement for both sides, a dispute, or bytes that are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from workunits.domain.audits.case import Case, end_audit_by, note_auditor
from workunits.domain.audits.ladder import Finding, Step, judge_by_anchor
from workunits.domain.audits.rows import ANCHOR, AUDITING, CAR, DISPUTE, KNOWN, OTHER_CLASS, OVERDUE, AuditRow
from workunits.domain.audits.sequence import AuditState
from workunits.domain.quorum import ReplicaView
from workunits.domain.replicas import ReplicaRole
from workunits.domain.states import ReplicaState

_PENDING: Final = (ReplicaState.LEASED, ReplicaState.COMMITTED, ReplicaState.REPORTED)
_ENDED: Final = (ReplicaState.RETURNED, ReplicaState.ERRORED, ReplicaState.EXPIRED, ReplicaState.CANCELLED)
_STATE_OF: Final = {
    AuditState.PASSED: ReplicaState.VALID,
    AuditState.FAILED: ReplicaState.INVALID,
    AuditState.INCONCLUSIVE: ReplicaState.INCONCLUSIVE,
}


def check_others(case: Case, canonical: ReplicaView) -> None:
    """Measure by the result whatever can be measured now and is not yet judged."""
    for check in case.replicas:
        if check is not canonical and check is not case.anchor and _can_be_measured(check):
            _check(case, canonical, check)


def _can_be_measured(check: ReplicaView) -> bool:
    if check.state == ReplicaState.REPORTED:
        return True
    # A primary always sends its bytes; of a re-run they come where they were asked for.
    return check.state == ReplicaState.COMMITTED and check.role != ReplicaRole.PRIMARY and not check.bytes_wanted


def _check(case: Case, canonical: ReplicaView, check: ReplicaView) -> None:
    finding = case.measure.find(canonical, check)
    if finding.step == Step.ASKS_BYTES:
        case.out.asked.append(check.owner_id)
    elif finding.step == Step.AGREES:
        _end_check(case, canonical, check, AuditState.PASSED, finding)
    elif canonical is case.anchor:
        _end_check(case, canonical, check, judge_by_anchor(finding.distance or 0.0), finding)
    elif case.unit.has_failed_run:
        _give_up(case, canonical, check, finding)
    else:
        _dispute(case, check, finding)


def _end_check(case: Case, canonical: ReplicaView, check: ReplicaView, state: AuditState, finding: Finding) -> None:
    """Judge the check, and write the other side of the audit: who audits is checked as well."""
    role = check.role or ReplicaRole.AUDIT.value
    case.move(check, _STATE_OF[state], role=role)
    mirror = case.make_audit(check, KNOWN if role == ReplicaRole.KNOWN else AUDITING, CAR)
    case.out.audits.append(end_audit_by(mirror, state, canonical, finding))
    if state == AuditState.PASSED and role == ReplicaRole.AUDIT:
        case.out.confirmed += 1
        audit = case.open_audit
        if audit is not None and _may_settle(check, audit):
            case.audit = end_audit_by(audit, AuditState.PASSED, check, finding)


def _may_settle(check: ReplicaView, audit: AuditRow) -> bool:
    """Return whether agreement of this one passes the audit: it was leased for it, and no more than a car is needed."""
    if check.role != ReplicaRole.AUDIT:
        return False
    return audit.needs == CAR or (audit.needs == OTHER_CLASS and check.comparison_class != audit.primary_class)


def _dispute(case: Case, check: ReplicaView, finding: Finding) -> None:
    """Two outputs differ: an anchor says who is right, and until then nobody is blamed."""
    case.order_run(DISPUTE)
    audit = case.open_audit
    if audit is not None:
        case.audit = replace(note_auditor(audit, check, finding.stage, finding.distance), needs=ANCHOR)


def _give_up(case: Case, canonical: ReplicaView, check: ReplicaView, finding: Finding) -> None:
    """No anchor could run the unit: nobody can say who is right, so nobody is believed and nobody is blamed."""
    _end_check(case, canonical, check, AuditState.INCONCLUSIVE, finding)
    audit = case.open_audit
    if audit is not None:
        ended = end_audit_by(audit, AuditState.INCONCLUSIVE, check, finding)
        case.audit = replace(ended, detail="no anchor could run it")


def ask_for_audit(case: Case) -> None:
    """Say how many cars the unit needs: one where a car may settle its audit and none is at it."""
    case.out.needed = 0
    audit = case.open_audit
    if audit is not None and audit.needs == ANCHOR and case.unit.has_failed_run:
        audit = case.audit = replace(audit, needs=CAR)
    if audit is None or audit.needs == ANCHOR:
        return
    auditors = [r for r in case.replicas if r.role == ReplicaRole.AUDIT]
    if _leaves_doubt(case, auditors) and case.has_anchor():
        case.audit = replace(audit, needs=ANCHOR)
        case.order_run(OVERDUE)
    elif not any(_is_awaited(case, audit, r) for r in auditors):
        case.out.needed = 1


def _is_awaited(case: Case, audit: AuditRow, auditor: ReplicaView) -> bool:
    """Return whether an auditor may settle the audit soon. One that is asked for its bytes may keep them back for days.

    When that takes too long an anchor takes over; where there is none, another car is asked.
    """
    if auditor.state not in _PENDING or case.is_moving(auditor):
        return False
    is_slow = auditor.state == ReplicaState.COMMITTED and auditor.bytes_wanted and case.is_overdue(audit)
    return not is_slow or case.has_anchor()


def _leaves_doubt(case: Case, auditors: Sequence[ReplicaView]) -> bool:
    """Return whether an auditor ended that was asked for its bytes, or too many ended without a word."""
    ended = [r for r in auditors if r.state in _ENDED]
    errors = sum(1 for r in ended if r.state == ReplicaState.ERRORED)
    tries = sum(r.attempt for r in ended)
    limits = case.odds.limits
    return any(r.bytes_wanted for r in ended) or errors >= limits.errors_max or tries >= limits.expiries_max
