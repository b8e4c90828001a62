"""What becomes of a unit at a level with audits, given all that is known of it: the rule, free of arrival order.

The first output makes the result, which is then provisional. Every other output of the unit, whatever it was leased
for, is a check on that result, and so is the auditor's own commitment. Where an anchor has run the unit, its output
decides: who differs from it loses, who is between is not blamed, and the unit is final. Nothing is ever dropped from
an audit without dropping the result it was about.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, Protocol

from workunits.domain.audits.ladder import Finding, Stage, Step, judge_by_anchor, settle_dispute
from workunits.domain.audits.sequence import AuditState
from workunits.domain.comparison import MISMATCH_MIN
from workunits.domain.quorum import Agreement, ReplicaView, RetryLimits, judge_unit
from workunits.domain.replicas import ANCHOR_OWNER_ID, ReplicaRole
from workunits.domain.states import ReplicaState, UnitState

DRAWN, YOUNG, FLOOR, FORCED, AUDITING, KNOWN = "drawn", "young", "floor", "forced", "auditing", "known"
CAR, OTHER_CLASS, ANCHOR = "car", "other_class", "anchor"
DISPUTE, OVERDUE, CLASS = "dispute", "overdue", "class"

# A sketch estimates a distance: what it alone says of somebody must be beyond doubt.
SKETCH_MARGIN: Final = 2.0

_PENDING: Final = (ReplicaState.LEASED, ReplicaState.COMMITTED, ReplicaState.REPORTED)
_ENDED: Final = (ReplicaState.RETURNED, ReplicaState.ERRORED, ReplicaState.EXPIRED, ReplicaState.CANCELLED)
_STATE_OF: Final = {
    AuditState.PASSED: ReplicaState.VALID,
    AuditState.FAILED: ReplicaState.INVALID,
    AuditState.INCONCLUSIVE: ReplicaState.INCONCLUSIVE,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditRow:
    """An audit as it is, or as it is to be written; `id` is None for a new one.

    `drops_result`: the audited result is taken back without blame, for nobody can say that it is right.
    """

    id: int | None = None
    owner_id: int
    vehicle_id: int
    sequence: int
    level: int
    weight: int
    reason: str
    needs: str
    state: str = AuditState.OPEN.value
    opens_at: datetime
    primary_class: str = ""
    auditor_vehicle_id: int | None = None
    auditor_owner_id: int | None = None
    auditor_class: str = ""
    stage: str = ""
    distance: float | None = None
    detail: str = ""
    drops_result: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditedUnit:
    """A unit to look at.

    `audit` is its open one; `is_settled`: an anchor has judged its canonical output before; `is_floor`: this result is
    among the few that an anchor runs whatever else.
    """

    state: str
    needed: int
    canonical_owner_id: int | None
    is_final: bool
    replicas: Sequence[ReplicaView]
    level: int
    audit: AuditRow | None = None
    is_settled: bool = False
    has_run: bool = False
    has_failed_run: bool = False
    is_floor: bool = False


class Measure(Protocol):
    """Compares outputs of the unit; may raise where bytes would be needed that were not read."""

    def find(self, canonical: ReplicaView, check: ReplicaView) -> Finding:
        """Return what the ladder says of `check`."""

    def distance(self, first: ReplicaView, second: ReplicaView) -> float:
        """Return how far two outputs are apart whose bytes are here, in tolerances."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Odds:
    """What the rule draws and asks for. `random`: uniform in [0, 1), secret; asked only where something is drawn."""

    now: datetime
    random: Callable[[], float]
    has_anchor: Callable[[], bool]
    limits: RetryLimits
    other_class_ratio: float
    delay_seconds: float


@dataclass(kw_only=True, slots=True)
class Decision:
    """What to write. `is_done` is False where the unit has to be looked at once more after this was written."""

    replicas: list[tuple[int, str, int]] = field(default_factory=list)  # owner, state, role
    decided: tuple[str, int | None, str] | None = None  # unit's state, canonical owner, reason
    is_final: bool = False  # the result is an anchor's
    needed: int = 0
    confirmed: int = 0  # outputs that agree with the result, found now
    audits: list[AuditRow] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)  # owners whose bytes are wanted
    run_reason: str = ""  # why an anchor is to run it
    is_done: bool = True


def judge_audited(unit: AuditedUnit, measure: Measure, odds: Odds) -> Decision:
    """Return what becomes of the unit. Repeating it on an unchanged unit changes nothing."""
    return _Judge(unit, measure, odds).judge()


def is_plain(state: str, replicas: Sequence[ReplicaView]) -> bool:
    """Return whether a unit without a result has its first output and nothing else to think about: the usual case."""
    if state != UnitState.OPEN or len(replicas) != 1:
        return False
    only = replicas[0]
    return only.state == ReplicaState.REPORTED and only.role == ReplicaRole.PRIMARY and not only.drawn


class _Judge:
    """One look at one unit."""

    def __init__(self, unit: AuditedUnit, measure: Measure, odds: Odds) -> None:
        self.unit, self.measure, self.odds = unit, measure, odds
        self.replicas = sorted(unit.replicas, key=lambda replica: replica.owner_id)
        self.by_owner = {replica.owner_id: replica for replica in self.replicas}
        self.anchor = self.by_owner.get(ANCHOR_OWNER_ID)
        self.audit = unit.audit
        self.out = Decision(needed=unit.needed)

    def judge(self) -> Decision:
        if self.unit.state == UnitState.OPEN:
            self._judge_open()
        elif self.unit.canonical_owner_id is None:
            self._judge_ended()
        else:
            self._judge_result(self.by_owner[self.unit.canonical_owner_id])
        if self.audit is not None and self.audit != self.unit.audit:
            self.out.audits.append(self.audit)
        return self.out

    # A unit without a result.

    def _judge_open(self) -> None:
        if self.audit is not None:
            # Its result was taken back. A unit has one open audit, so this one ends before another may begin.
            self.audit = replace(self.audit, state=AuditState.VOID.value, detail="the result was taken back")
            self.out.is_done = False
            return
        if self.anchor is not None:
            self._accept(self.anchor)
            return
        reported = [r for r in self.replicas if r.state == ReplicaState.REPORTED]
        if reported:
            self._accept(min(reported, key=lambda r: (r.role != ReplicaRole.PRIMARY, r.owner_id)))
            return
        # An auditor whose unit was opened again holds an output that may become the result, with its bytes. They may
        # never come, so another car is asked all the same.
        waiting = [r for r in self.replicas if r.role != ReplicaRole.PRIMARY and r.state == ReplicaState.COMMITTED]
        self.out.asked += [r.owner_id for r in waiting if not r.bytes_wanted]
        counted = [r for r in self.replicas if r.role == ReplicaRole.PRIMARY or r.state == ReplicaState.LEASED]
        judgement = judge_unit(counted, quorum=1, limits=self.odds.limits, compare=_never)
        self.out.replicas += [(owner, ReplicaState.CANCELLED.value, self._role(owner)) for owner in judgement.cancelled]
        if judgement.failure:
            self.out.decided = (UnitState.FAILED.value, None, judgement.failure)
        self.out.needed = judgement.needed

    def _accept(self, canonical: ReplicaView) -> None:
        """Make an output the unit's result; whoever has only a lease is not needed any more."""
        self.out.decided = (UnitState.VALIDATED.value, canonical.owner_id, "")
        self.out.needed = 0
        if canonical is self.anchor:
            self.out.is_final = True
        else:
            self.out.replicas.append((canonical.owner_id, ReplicaState.VALID.value, ReplicaRole.PRIMARY.value))
            self._draw(canonical)
        self.out.replicas += [
            (r.owner_id, ReplicaState.CANCELLED.value, r.role)
            for r in self.replicas
            if r.state == ReplicaState.LEASED and r.role == ReplicaRole.PRIMARY
        ]
        self._check_others(canonical)
        self._ask_for_audit()

    def _draw(self, primary: ReplicaView) -> None:
        """Open the audit that the draw asked for, or the anchor floor, or a promoted auditor's output."""
        is_drawn = primary.drawn or primary.role != ReplicaRole.PRIMARY
        is_floor = self.unit.is_floor
        if not (is_drawn or is_floor):
            return
        if (primary.young or is_floor) and self._has_anchor():
            needs = ANCHOR
        elif not is_drawn:
            return  # the floor is an anchor's work
        elif not primary.young and self.odds.random() < self.odds.other_class_ratio:
            needs = OTHER_CLASS
        else:
            needs = CAR
        reason = YOUNG if primary.young else DRAWN if is_drawn else FLOOR
        self.audit = self._new_audit(primary, reason, needs)
        if needs == ANCHOR:
            self.out.run_reason = YOUNG if primary.young else FLOOR

    # A unit that ended without a result: nothing to measure by.

    def _judge_ended(self) -> None:
        self.out.needed = 0
        self.out.replicas += [
            (r.owner_id, ReplicaState.INCONCLUSIVE.value, r.role)
            for r in self.replicas
            if r.state == ReplicaState.REPORTED
        ]
        if self.audit is not None:
            self.audit = replace(self.audit, state=AuditState.VOID.value, detail="the unit has no result")

    # A unit with a result.

    def _judge_result(self, canonical: ReplicaView) -> None:
        if self.anchor is not None and canonical is not self.anchor:
            self._settle_result(canonical)
            canonical = self.anchor
        if self.audit is not None and self.audit.state == AuditState.OPEN:
            self._settle_stray_audit(canonical)
        if self.anchor is None and self.unit.has_run:
            self.out.needed = 0  # whatever is here waits for the anchor
            return
        self._check_others(canonical)
        self._ask_for_audit()

    def _settle_result(self, primary: ReplicaView) -> None:
        """Let the anchor's output judge the result, once, and take its place where no file holds the result yet."""
        anchor = self._the_anchor()
        distance = self.measure.distance(anchor, primary)
        state = judge_by_anchor(distance)
        if self.audit is None and state != AuditState.PASSED and not self.unit.is_settled:
            self.audit = self._new_audit(primary, FORCED, ANCHOR)
        if self.audit is not None and self.audit.owner_id == primary.owner_id:
            self.audit = replace(
                self._by(anchor, self.audit),
                state=state.value,
                stage=Stage.ANCHOR.value,
                distance=distance,
                drops_result=state == AuditState.INCONCLUSIVE,
                detail=self._detail(primary, distance),
            )
            self.out.confirmed += state == AuditState.PASSED
        if state == AuditState.FAILED and not self.unit.is_settled:
            self._judge_accomplices(primary)
        if self.unit.state == UnitState.VALIDATED:
            self.out.decided = (UnitState.VALIDATED.value, ANCHOR_OWNER_ID, "")
            self.out.is_final = True

    def _judge_accomplices(self, loser: ReplicaView) -> None:
        """Let the anchor's output judge those as well that had agreed with a result that lost."""
        anchor = self._the_anchor()
        for other in self.replicas:
            if other.state != ReplicaState.VALID or other is loser or other is anchor:
                continue
            finding = self.measure.find(anchor, other)
            if finding.step != Step.AGREES and self._is_accomplice(loser, other, finding):
                lost = self._by(anchor, self._new_audit(other, AUDITING, ANCHOR))
                self.out.audits.append(
                    replace(lost, state=AuditState.FAILED.value, stage=Stage.ANCHOR.value, distance=finding.distance)
                )

    def _is_accomplice(self, loser: ReplicaView, other: ReplicaView, finding: Finding) -> bool:
        """Return whether an output that was believed because it agreed with the loser's is as wrong.

        Where its bytes never came, its digest says that it is the loser's output, or its sketch that it is far off.
        """
        if other.digest is not None:
            return judge_by_anchor(finding.distance or 0.0) == AuditState.FAILED
        is_far = finding.distance is not None and finding.distance >= SKETCH_MARGIN * MISMATCH_MIN
        return is_far or self.measure.find(loser, other).stage == Stage.DIGEST

    def _detail(self, primary: ReplicaView, distance: float) -> str:
        """Say where the other side lost as well and agrees with the loser: a runtime may be at fault."""
        anchor = self._the_anchor()
        for other in self.replicas:
            if other.state == ReplicaState.REPORTED and other is not primary:
                outcome = settle_dispute(
                    distance, self.measure.distance(anchor, other), self.measure.distance(primary, other)
                )
                if outcome.is_common:
                    return f"owner {other.owner_id} returned the same: a runtime may be at fault"
        return ""

    def _settle_stray_audit(self, canonical: ReplicaView) -> None:
        """End an audit whose result is not the unit's any more, by the anchor's output or because it was taken back."""
        audit = self.audit
        if audit is None or audit.owner_id == canonical.owner_id:
            return
        audited = self.by_owner.get(audit.owner_id)
        if audited is None or audited.state != ReplicaState.VALID:
            self.audit = replace(audit, state=AuditState.VOID.value, detail="the result was taken back")
        elif self.anchor is not None:
            distance = self.measure.distance(self.anchor, audited)
            state = judge_by_anchor(distance)
            self.audit = replace(
                self._by(self.anchor, audit),
                state=state.value,
                stage=Stage.ANCHOR.value,
                distance=distance,
                drops_result=state == AuditState.INCONCLUSIVE,
            )

    def _check_others(self, canonical: ReplicaView) -> None:
        for check in self.replicas:
            if check is canonical or check is self.anchor:
                continue
            if check.state == ReplicaState.REPORTED or (
                check.state == ReplicaState.COMMITTED and check.role != ReplicaRole.PRIMARY and not check.bytes_wanted
            ):
                self._check(canonical, check)

    def _check(self, canonical: ReplicaView, check: ReplicaView) -> None:
        """Measure one more output by the result."""
        finding = self.measure.find(canonical, check)
        if finding.step == Step.ASKS_BYTES:
            self.out.asked.append(check.owner_id)
        elif finding.step == Step.AGREES:
            self._end_check(canonical, check, AuditState.PASSED, finding)
        elif canonical is self.anchor:
            self._end_check(canonical, check, judge_by_anchor(finding.distance or 0.0), finding)
        elif self.unit.has_failed_run:
            self._give_up(canonical, check, finding)
        else:
            self._dispute(check, finding)

    def _end_check(self, canonical: ReplicaView, check: ReplicaView, state: AuditState, finding: Finding) -> None:
        """Write the other side of the audit: who audits is checked as well."""
        role = check.role or ReplicaRole.AUDIT.value
        self.out.replicas.append((check.owner_id, _STATE_OF[state].value, role))
        self.out.audits.append(
            replace(
                self._by(canonical, self._new_audit(check, KNOWN if role == ReplicaRole.KNOWN else AUDITING, CAR)),
                state=state.value,
                stage=finding.stage.value,
                distance=finding.distance,
            )
        )
        if state == AuditState.PASSED and role == ReplicaRole.AUDIT:
            self.out.confirmed += 1
            self._pass_audit(check, finding)

    def _pass_audit(self, check: ReplicaView, finding: Finding) -> None:
        """An auditor that was leased for it and agrees passes the open audit, unless that asks for more than a car."""
        audit = self.audit
        if audit is None or audit.state != AuditState.OPEN or check.role != ReplicaRole.AUDIT:
            return
        if audit.needs == CAR or (audit.needs == OTHER_CLASS and check.comparison_class != audit.primary_class):
            self.audit = replace(
                self._by(check, audit),
                state=AuditState.PASSED.value,
                stage=finding.stage.value,
                distance=finding.distance,
            )

    def _dispute(self, check: ReplicaView, finding: Finding) -> None:
        """Two outputs differ: an anchor says who is right, and until then nobody is blamed."""
        self._order_run(DISPUTE)
        if self.audit is not None and self.audit.state == AuditState.OPEN:
            self.audit = replace(
                self._by(check, self.audit), needs=ANCHOR, stage=finding.stage.value, distance=finding.distance
            )

    def _give_up(self, canonical: ReplicaView, check: ReplicaView, finding: Finding) -> None:
        """No anchor could run the unit: nobody can say who is right, so nobody is believed and nobody is blamed."""
        self._end_check(canonical, check, AuditState.INCONCLUSIVE, finding)
        if self.audit is not None and self.audit.state == AuditState.OPEN:
            self.audit = replace(
                self._by(check, self.audit),
                state=AuditState.INCONCLUSIVE.value,
                stage=finding.stage.value,
                distance=finding.distance,
                detail="no anchor could run it",
                drops_result=True,
            )

    def _ask_for_audit(self) -> None:
        """Say how many cars the unit needs: one where a car may settle its audit and none is at it."""
        self.out.needed = 0
        audit = self.audit
        if audit is not None and audit.state == AuditState.OPEN and audit.needs == ANCHOR and self.unit.has_failed_run:
            audit = self.audit = replace(audit, needs=CAR)
        if audit is None or audit.state != AuditState.OPEN or audit.needs == ANCHOR:
            return
        auditors = [r for r in self.replicas if r.role == ReplicaRole.AUDIT]
        if self._is_doubtful(auditors) and self._has_anchor():
            self.audit = replace(audit, needs=ANCHOR)
            self._order_run(OVERDUE)
        elif not any(r.state in _PENDING for r in auditors if not self._is_ending(r)):
            self.out.needed = 1

    def _is_ending(self, replica: ReplicaView) -> bool:
        return any(owner_id == replica.owner_id for owner_id, _, _ in self.out.replicas)

    def _is_doubtful(self, auditors: Sequence[ReplicaView]) -> bool:
        """Return whether an auditor ended that had left a doubt, or too many ended without a word."""
        ended = [r for r in auditors if r.state in _ENDED]
        errors = sum(1 for r in ended if r.state == ReplicaState.ERRORED)
        tries = sum(r.attempt for r in ended)
        limits = self.odds.limits
        return any(r.bytes_wanted for r in ended) or errors >= limits.errors_max or tries >= limits.expiries_max

    def _order_run(self, reason: str) -> None:
        if not self.unit.has_run and self.anchor is None:
            self.out.run_reason = reason

    def _has_anchor(self) -> bool:
        return not self.unit.has_failed_run and self.odds.has_anchor()

    def _new_audit(self, subject: ReplicaView, reason: str, needs: str) -> AuditRow:
        # No friend may know when to come for it. The other side's row is written with its outcome.
        delay = 0.0 if reason in (AUDITING, KNOWN) else self.odds.random() * self.odds.delay_seconds
        return AuditRow(
            owner_id=subject.owner_id,
            vehicle_id=subject.vehicle_id,
            sequence=subject.sequence or 0,
            level=self.unit.level,
            weight=subject.weight,
            reason=reason,
            needs=needs,
            opens_at=self.odds.now + timedelta(seconds=delay),
            primary_class=subject.comparison_class,
        )

    def _by(self, auditor: ReplicaView, audit: AuditRow) -> AuditRow:
        return replace(
            audit,
            auditor_vehicle_id=auditor.vehicle_id,
            auditor_owner_id=auditor.owner_id,
            auditor_class=auditor.comparison_class,
        )

    def _role(self, owner_id: int) -> int:
        return self.by_owner[owner_id].role

    def _the_anchor(self) -> ReplicaView:
        if self.anchor is None:
            raise ValueError("no anchor has run this unit")
        return self.anchor


def _never(reported: Sequence[ReplicaView], quorum: int) -> Agreement | None:
    raise ValueError(f"{len(reported)} outputs of {quorum} are here: one of them is the result")
