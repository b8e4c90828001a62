"""What the rule of units with audits is given, and what it says: rows as they are and as they are to be written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from workunits.domain.audits.ladder import Finding
from workunits.domain.audits.sequence import AuditState
from workunits.domain.quorum import ReplicaView, RetryLimits

# Why there is an audit, who may run it, and why an anchor runs a unit.
DRAWN, YOUNG, FLOOR, FORCED, AUDITING, KNOWN = "drawn", "young", "floor", "forced", "auditing", "known"
CAR, OTHER_CLASS, ANCHOR = "car", "other_class", "anchor"
DISPUTE, OVERDUE, CLASS = "dispute", "overdue", "class"


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
    """What the rule draws and asks for. `random`: uniform in [0, 1), secret; asked only where something is drawn.

    `patience_seconds`: how long an audit may be open to cars.
    """

    now: datetime
    random: Callable[[], float]
    has_anchor: Callable[[], bool]
    limits: RetryLimits
    other_class_ratio: float
    delay_seconds: float
    patience_seconds: float


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
