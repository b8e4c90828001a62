"""What validation reads and writes, in sets: units to review with their replicas, and the verdicts on them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from workunits.domain.audits.levels import VerificationLevel, is_audited
from workunits.domain.audits.rows import AuditRow
from workunits.domain.quorum import ReplicaView
from workunits.domain.states import UnitState
from workunits.store.audits import NO_AUDITS, UnitAudits, list_audits, order_audit_runs, write_audits
from workunits.store.blobs import get_blob_store
from workunits.store.db import call_function, fetch_all, fetch_one


class BatchTurn(NamedTuple):
    """The right to give verdicts on a batch, until the transaction ends."""

    batch_id: int
    verdict_number: int
    quorum: int
    status: str
    level: VerificationLevel
    lane: int

    @property
    def is_audited(self) -> bool:
        """Whether one output is believed at once and audited afterwards."""
        return is_audited(self.level)


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitReview:
    """A unit to look at, locked, with all its replicas, and at a level with audits with its open audit and runs.

    `is_settled`: an anchor has judged its result before. `has_run`, `has_failed_run`: anchors' runs of it.
    """

    number: int
    state: str
    needed: int
    canonical_owner_id: int | None
    is_final: bool
    review_ids: list[int]
    replicas: list[ReplicaView]
    audits: UnitAudits = NO_AUDITS

    @property
    def facts(self) -> tuple[object, ...]:
        """What a verdict rests on: it may be written only while this is the same."""
        return self.state, self.canonical_owner_id, self.is_final, self.replicas, self.audits


class DecidedUnit(NamedTuple):
    """The end of an open unit."""

    number: int
    state: str
    canonical_owner_id: int | None
    reason: str
    is_final: bool
    needed: int = 0
    confirmed: int = 0


class ChangedUnit(NamedTuple):
    """What else changes in a unit. `adopts`: its result is the anchor's output from now on."""

    number: int
    needed: int
    confirmed: int = 0
    adopts: bool = False
    is_newly_final: bool = False


@dataclass(kw_only=True, slots=True)
class Verdicts:
    """The verdicts of one drain, as columns. Nothing in it refers to another batch."""

    replicas: list[tuple[int, int, str, int]] = field(default_factory=list)  # unit, owner, state, role
    decided: list[DecidedUnit] = field(default_factory=list)
    changed: list[ChangedUnit] = field(default_factory=list)
    asked: list[tuple[int, int]] = field(default_factory=list)  # unit, owner: whose bytes are wanted
    audits: list[tuple[int, AuditRow]] = field(default_factory=list)  # unit, audit to open or to resolve
    runs: list[tuple[int, str, int | None]] = field(default_factory=list)  # unit, reason, audit where it is open
    review_ids: list[int] = field(default_factory=list)  # looked at, and no others

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (self.review_ids or self.audits)

    def add(self, other: Verdicts) -> None:
        """Append another set of verdicts of the same batch."""
        self.replicas += other.replicas
        self.decided += other.decided
        self.changed += other.changed
        self.asked += other.asked
        self.audits += other.audits
        self.runs += other.runs
        self.review_ids += other.review_ids


def list_batches_to_review() -> list[int]:
    """Return the batches that have something to validate, by id."""
    return [batch_id for (batch_id,) in call_function("list_batches_to_review", {})]


def lock_verdicts(batch_id: int) -> BatchTurn | None:
    """Take the batch's verdict lock, or return None where another worker holds it or the batch is gone."""
    row = fetch_one("lock_batch_verdicts", {"batch_id": batch_id})
    if row is None:
        return None
    verdict_number, quorum, status, level, lane = row
    return BatchTurn(batch_id, verdict_number, quorum, status, VerificationLevel(level), lane)


def take_reviews(turn: BatchTurn, *, reviews_max: int, only: list[int] | None = None) -> list[UnitReview]:
    """Return the units of the next `reviews_max` reviews, locked; of those in `only`, where it is given."""
    units = fetch_all("lock_reviewed_units", {"batch_id": turn.batch_id, "reviews_max": reviews_max, "only": only})
    replicas: dict[int, list[ReplicaView]] = defaultdict(list)
    numbers = [number for number, *_ in units]
    for number, *columns in fetch_all("list_replicas_of_units", {"batch_id": turn.batch_id, "units": numbers}):
        replicas[number].append(_view(columns))
    audits = _audits_of(turn, units, replicas)
    return [
        UnitReview(
            number=number,
            state=state,
            needed=needed,
            canonical_owner_id=canonical_owner_id,
            is_final=is_final,
            review_ids=review_ids,
            replicas=replicas[number],
            audits=audits.get(number, NO_AUDITS),
        )
        for number, state, needed, _rows, _reward, canonical_owner_id, is_final, review_ids in units
    ]


def _view(columns: list[Any]) -> ReplicaView:
    view = ReplicaView._make(columns)
    if view.digest is None and view.commitment is None:
        return view
    return view._replace(
        digest=None if view.digest is None else bytes(view.digest),
        commitment=None if view.commitment is None else bytes(view.commitment),
        sketch=None if view.sketch is None else bytes(view.sketch),
    )


def _audits_of(
    turn: BatchTurn, units: list[tuple[Any, ...]], replicas: Mapping[int, list[ReplicaView]]
) -> dict[int, UnitAudits]:
    """Read audits of the units that may have one: a unit with its first output alone, the usual one, has none."""
    if not turn.is_audited:
        return {}
    return list_audits(
        turn.batch_id,
        [number for number, state, *_ in units if state != UnitState.OPEN or len(replicas.get(number, ())) > 1],
    )


def apply_verdicts(turn: BatchTurn, verdicts: Verdicts, *, now: datetime) -> int:
    """Write a drain's verdicts, order the anchors' runs among them, and return how many units are still open."""
    rows = call_function(
        f"apply_verdicts_{turn.lane}",
        {
            "batch_id": turn.batch_id,
            "verdict_number": turn.verdict_number + 1,
            "is_audited": turn.is_audited,
            "now": now,
            **_columns(verdicts),
        },
    )
    if not rows:
        return -1
    units_open, audit_ids, audit_units = rows[0]
    opened = dict(zip(audit_units or (), audit_ids or (), strict=True))
    runs = [(number, reason, audit_id or opened.get(number)) for number, reason, audit_id in verdicts.runs]
    order_audit_runs(turn.batch_id, runs, now)
    return int(units_open)


def _columns(verdicts: Verdicts) -> dict[str, Any]:
    replicas, decided, changed = verdicts.replicas, verdicts.decided, verdicts.changed
    return {
        "replica_units": [unit for unit, _, _, _ in replicas],
        "replica_owners": [owner for _, owner, _, _ in replicas],
        "replica_states": [state for _, _, state, _ in replicas],
        "replica_roles": [role for _, _, _, role in replicas],
        "decided_units": [unit.number for unit in decided],
        "decided_states": [unit.state for unit in decided],
        "decided_owners": [unit.canonical_owner_id for unit in decided],
        "decided_reasons": [unit.reason for unit in decided],
        "decided_finals": [unit.is_final for unit in decided],
        "decided_needs": [unit.needed for unit in decided],
        "decided_confirmed": [unit.confirmed for unit in decided],
        "changed_units": [unit.number for unit in changed],
        "changed_needs": [unit.needed for unit in changed],
        "changed_confirmed": [unit.confirmed for unit in changed],
        "changed_adopts": [unit.adopts for unit in changed],
        "changed_finals": [unit.is_newly_final for unit in changed],
        "asked_units": [unit for unit, _ in verdicts.asked],
        "asked_owners": [owner for _, owner in verdicts.asked],
        "audits": write_audits(verdicts.audits),
        "review_ids": verdicts.review_ids,
    }


def read_outputs(batch_id: int, unit_number: int) -> dict[int, bytes]:
    """Return the outputs of a unit by owner, from the rows or the blob store. Call it outside a transaction."""
    rows = fetch_all("read_outputs", {"batch_id": batch_id, "unit_number": unit_number})
    store = get_blob_store()
    return {owner_id: bytes(output) if output is not None else store.read(blob) for owner_id, output, blob in rows}
