"""Vehicles' trust as rows: who is due, what a fold reads and writes, and what it makes final, in sets of vehicles."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from workunits.domain.audits.fold import Commit, Folded, LevelMark, Scope, Weighed
from workunits.domain.audits.standing import RESETS_UNTIL_WATCHED, RESETS_WINDOW
from workunits.models import TrustEvent
from workunits.store.db import execute, fetch_all, fetch_one
from workunits.store.verdicts import BatchTurn


@dataclass(kw_only=True, slots=True)
class DueVehicle:
    """A vehicle whose trust is to be folded, its standing locked.

    `life_ends`: its last commitments of the lives of its trust that ended. `finals`: by level, up to where results are
    final. `commits`: those behind `folded`, a bounded number.
    """

    vehicle_id: int
    folded: int
    life_ends: list[int]
    commits: list[Commit] = field(default_factory=list)
    marks: list[LevelMark] = field(default_factory=list)
    weights: dict[Scope, Weighed] = field(default_factory=dict)
    finals: dict[int, int] = field(default_factory=dict)

    @property
    def began(self) -> int:
        """After which commitment its present life began."""
        return self.life_ends[-1] if self.life_ends else 0


def claim_due(*, after: int, vehicles_max: int, commits_max: int) -> tuple[int | None, list[DueVehicle]]:
    """Take the next vehicles that are due, behind `after`; return the last one looked at (None: there are no more).

    Runs in the caller's transaction, and gives way to other workers. What another one holds stays due.
    """
    parameters = {"after": after, "vehicles_max": vehicles_max}
    taken = sorted(vehicle_id for (vehicle_id,) in fetch_all("claim_trust_due", parameters))
    if not taken:
        return None, []
    rows = fetch_all("lock_standings", {"vehicles": taken})
    due = {
        vehicle_id: DueVehicle(vehicle_id=vehicle_id, folded=folded, life_ends=ends)
        for vehicle_id, folded, ends in rows
    }
    put_due([vehicle_id for vehicle_id in taken if vehicle_id not in due])
    _read_commits(due, commits_max)
    fill_records(due)
    return taken[-1], list(due.values())


def put_due(vehicles: Sequence[int]) -> None:
    """Have these vehicles' trust folded again."""
    if vehicles:
        execute("put_trust_due", {"vehicles": list(vehicles)})


def _read_commits(due: Mapping[int, DueVehicle], commits_max: int) -> None:
    parameters = {
        "vehicles": list(due),
        "folded": [vehicle.folded for vehicle in due.values()],
        "commits_max": commits_max,
    }
    for vehicle_id, *columns in fetch_all("read_unfolded", parameters):
        due[vehicle_id].commits.append(Commit._make(columns))


def fill_records(due: Mapping[int, DueVehicle]) -> None:
    """Read the vehicles' audits and weights."""
    for vehicle_id, *columns in fetch_all("read_audit_marks", {"vehicles": list(due)}):
        due[vehicle_id].marks.append(LevelMark._make(columns))
    for vehicle_id, level, model_id, name, weight, weighed_at, last_commit_at, final in fetch_all(
        "read_trust", {"vehicles": list(due)}
    ):
        scope = Scope(level, model_id, name)
        due[vehicle_id].weights[scope] = Weighed(weight, weighed_at, last_commit_at)
        if scope == Scope(level):
            due[vehicle_id].finals[level] = final


class FoldedVehicle(NamedTuple):
    """What a fold found of a vehicle. `finals`: up to where each level's results are final, where that has moved."""

    vehicle: DueVehicle
    folded: Folded
    finals: Mapping[int, int]
    is_due: bool


def write_fold(vehicles: Sequence[FoldedVehicle], *, now: datetime) -> None:
    """Write what a fold found. Runs in the transaction of `claim_due`."""
    ended = [(each.vehicle.vehicle_id, sequence) for each in vehicles for sequence in each.folded.ended]
    execute(
        "write_fold",
        {
            "weights": json.dumps([row for each in vehicles for row in _weight_rows(each, now)]),
            "folded_vehicles": [each.vehicle.vehicle_id for each in vehicles],
            "folded_upto": [each.folded.upto for each in vehicles],
            "ended_vehicles": [vehicle_id for vehicle_id, _ in ended],
            "ended_sequences": [sequence for _, sequence in ended],
            "resets_since": now - RESETS_WINDOW,
            "resets_until_watched": RESETS_UNTIL_WATCHED,
            "due_vehicles": [each.vehicle.vehicle_id for each in vehicles if each.is_due],
        },
    )
    TrustEvent.objects.bulk_create(
        TrustEvent(
            vehicle_id=each.vehicle.vehicle_id,
            at=now,
            kind=TrustEvent.Kind.QUALIFIED.value,
            level=level,
            sequence=sequence,
            weight_before=before,
            weight_after=after,
        )
        for each in vehicles
        for level, (before, after, sequence) in each.folded.qualified.items()
    )


def _weight_rows(each: FoldedVehicle, now: datetime) -> list[dict[str, Any]]:
    """Return the scopes that changed, and that of each level, whose oldest provisional result may have."""
    weights = {scope: each.vehicle.weights[scope] for scope in map(Scope, each.vehicle.finals)} | each.folded.weights
    for level in each.finals:
        weights.setdefault(Scope(level), Weighed(0.0, now.timestamp(), now.timestamp()))
    return [
        {
            "vehicle_id": each.vehicle.vehicle_id,
            **scope._asdict(),
            **weighed._asdict(),
            "weight": int(weighed.weight),
            "final_sequence": max(each.vehicle.finals.get(scope.level, 0), each.finals.get(scope.level, 0))
            if scope == Scope(scope.level)
            else 0,
        }
        for scope, weighed in weights.items()
    ]


def list_final_batches(vehicles: Collection[int]) -> list[int]:
    """Return the batches with results of these vehicles that are final and not settled as such, by id."""
    return [batch_id for (batch_id,) in fetch_all("list_final_batches", {"vehicles": list(vehicles)})]


def finalise_batch(turn: BatchTurn, vehicles: Collection[int], *, now: datetime) -> int:
    """Make final what these vehicles' passed audits cover in a batch; return how many results. Holds its lock."""
    parameters = {
        "batch_id": turn.batch_id,
        "verdict_number": turn.verdict_number + 1,
        "vehicles": list(vehicles),
        "now": now,
    }
    row = fetch_one("finalise_commits", parameters)
    return 0 if row is None else int(row[0])


class HeldResult(NamedTuple):
    """The latest provisional result of a vehicle at a level where one has waited for too long."""

    batch_id: int
    unit_number: int
    owner_id: int
    vehicle_id: int
    sequence: int
    level: int
    weight: int
    comparison_class: str
    is_leasing: bool


def list_held_results(*, held_before: datetime, has_anchor: bool, turn: int, results_max: int) -> list[HeldResult]:
    """Return results to audit by force, of other vehicles at each `turn`; have folded what no fold has come to."""
    parameters = {"held_before": held_before, "has_anchor": has_anchor, "turn": turn, "results_max": results_max}
    rows = fetch_all("list_held_results", parameters)
    put_due(sorted({vehicle_id for vehicle_id, has_unfolded, *_ in rows if has_unfolded}))
    return sorted(HeldResult._make(found) for _, _, *found in rows if found[0] is not None)
