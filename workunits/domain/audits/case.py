"""One look at one unit: what is known of it, what has been decided so far, and the moves that every part makes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from workunits.domain.audits.ladder import Finding, Stage
from workunits.domain.audits.rows import AUDITING, KNOWN, AuditedUnit, AuditRow, Decision, Measure, Odds
from workunits.domain.audits.sequence import AuditState
from workunits.domain.quorum import ReplicaView
from workunits.domain.replicas import ANCHOR_OWNER_ID
from workunits.domain.states import ReplicaState


class Case:
    """A unit while it is looked at. `audit` is its open audit, or the one that this look opened or ended."""

    def __init__(self, unit: AuditedUnit, measure: Measure, odds: Odds) -> None:
        self.unit, self.measure, self.odds = unit, measure, odds
        self.replicas = sorted(unit.replicas, key=lambda replica: replica.owner_id)
        self.by_owner = {replica.owner_id: replica for replica in self.replicas}
        self.anchor = self.by_owner.get(ANCHOR_OWNER_ID)
        self.audit = unit.audit
        self.out = Decision(needed=unit.needed)

    @property
    def open_audit(self) -> AuditRow | None:
        """The audit, while it is open."""
        return self.audit if self.audit is not None and self.audit.state == AuditState.OPEN else None

    def finish(self) -> Decision:
        """Return what was decided, the audit with it where it changed."""
        if self.audit is not None and self.audit != self.unit.audit:
            self.out.audits.append(self.audit)
        return self.out

    def move(self, replica: ReplicaView, state: ReplicaState, *, role: int | None = None) -> None:
        """Put a replica into a state, and into another role where one is given."""
        self.out.replicas.append((replica.owner_id, state.value, replica.role if role is None else role))

    def is_moving(self, replica: ReplicaView) -> bool:
        """Return whether this look ends the replica."""
        return any(owner_id == replica.owner_id for owner_id, _, _ in self.out.replicas)

    def order_run(self, reason: str) -> None:
        """Ask for an anchor's run, unless one is under way or done."""
        if not self.unit.has_run and self.anchor is None:
            self.out.run_reason = reason

    def has_anchor(self) -> bool:
        """Return whether an anchor is there that may be able to run the unit."""
        return not self.unit.has_failed_run and self.odds.has_anchor()

    def is_overdue(self, audit: AuditRow) -> bool:
        """Return whether an audit has been open to cars for longer than it may take."""
        return (self.odds.now - audit.opens_at).total_seconds() >= self.odds.patience_seconds

    def make_audit(self, subject: ReplicaView, reason: str, needs: str) -> AuditRow:
        """Return a new open audit of a replica's output."""
        # No friend may know when to come for it. The other side's row is written with its outcome, so it never waits.
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


def end_audit(
    audit: AuditRow, state: AuditState, auditor: ReplicaView, stage: Stage, distance: float | None
) -> AuditRow:
    """Return the audit with its outcome, and who it is owed to."""
    return replace(
        note_auditor(audit, auditor, stage, distance),
        state=state.value,
        # Where nobody can say that a believed result is right, it does not stay.
        drops_result=state == AuditState.INCONCLUSIVE and audit.reason not in (AUDITING, KNOWN),
    )


def end_audit_by(audit: AuditRow, state: AuditState, auditor: ReplicaView, finding: Finding) -> AuditRow:
    """Return the audit with its outcome as the ladder found it."""
    return end_audit(audit, state, auditor, finding.stage, finding.distance)


def note_auditor(audit: AuditRow, auditor: ReplicaView, stage: Stage, distance: float | None) -> AuditRow:
    """Return the audit with who ran it again and how far that came."""
    return replace(
        audit,
        auditor_vehicle_id=auditor.vehicle_id,
        auditor_owner_id=auditor.owner_id,
        auditor_class=auditor.comparison_class,
        stage=stage.value,
        distance=distance,
    )
