"""Vehicles as the wire meets them: one read that says who is calling and where he stands."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from workunits.domain.audits.standing import Standing
from workunits.domain.twins import ProcessMarks
from workunits.domain.types import UnitKey
from workunits.store.db import call_function, execute


@dataclass(frozen=True, kw_only=True, slots=True)
class AboutCar:
    """What a car says of itself that hardly ever changes; written only when it has.

    `instance` is a hash of the installation; `walls` are the walls of its sandbox that hold; `clock_skew_seconds` is
    our clock less the car's. None: it did not say.
    """

    instance: str = ""
    processes: ProcessMarks = field(default_factory=ProcessMarks)
    walls: tuple[str, ...] | None = None
    clock_skew_seconds: float | None = None


class TrustRow(NamedTuple):
    """Accepted weight as it was at `weighed_at` (unix seconds): of a level, of a class in it, of a model in that."""

    level: int
    model_id: int
    comparison_class: str
    weight: int
    weighed_at: float
    last_commit_at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownVehicle:
    """A vehicle and its heartbeat row, as read at the start of a request.

    `open_leases` is what our books say it holds: a superset, since a sweep may have ended some. `may_lease` is what
    this request has found out, and no column. `counter` and `trust_life` guard the sync's transaction: they must not
    have moved meanwhile. `cluster_owner_ids` are the owners that may be one party with its owner, himself included;
    `unresolved`: the weight of its open audits by level; before `audits_from` it gets none of others'.
    """

    public_id: str
    vehicle_id: int
    owner_id: int
    public_key: bytes
    is_active: bool
    counter: int
    open_leases: tuple[UnitKey, ...]
    cursor_batch_id: int | None
    cursor_unit_number: int
    misses: int
    previous_public_key: bytes | None = None
    clone_suspected_at: datetime | None = None
    rules: Mapping[str, Any] | None = None
    may_lease: bool = True
    trust_life: int = 1
    last_seen_at: datetime | None = None
    audits_from: datetime | None = None
    standing: Standing = Standing.NORMAL
    cluster_owner_ids: tuple[int, ...] = ()
    trust: tuple[TrustRow, ...] = ()
    unresolved: Mapping[int, int] = field(default_factory=dict)
    about: AboutCar = field(default_factory=AboutCar)


def find_vehicle(public_id: str) -> KnownVehicle | None:
    """Return the vehicle with this public id, or None."""
    rows = call_function("find_vehicle", {"public_id": public_id})
    if not rows:
        return None
    row = rows[0]
    vehicle_id, owner_id, key, status, counter, batch_ids, unit_numbers, cursor_batch, cursor_unit, misses, *more = row
    previous_key, clone_suspected_at, rules, instance, boot_marks, boot_changed_at, walls, clock_skew_seconds = more[:8]
    trust_life, last_seen_at, audits_from, standing, cluster_owner_ids, trust, unresolved = more[8:]
    return KnownVehicle(
        public_id=public_id,
        vehicle_id=vehicle_id,
        owner_id=owner_id,
        public_key=bytes(key),
        is_active=status == "active",
        counter=counter,
        open_leases=tuple(map(UnitKey, batch_ids, unit_numbers)),
        cursor_batch_id=cursor_batch,
        cursor_unit_number=cursor_unit,
        misses=misses,
        previous_public_key=None if previous_key is None else bytes(previous_key),
        clone_suspected_at=clone_suspected_at,
        rules=json.loads(rules) if isinstance(rules, str) else rules,
        trust_life=trust_life,
        last_seen_at=last_seen_at,
        audits_from=audits_from,
        standing=Standing(standing),
        cluster_owner_ids=tuple(cluster_owner_ids or (owner_id,)),
        trust=_read_trust(trust),
        unresolved=_read_unresolved(unresolved),
        about=AboutCar(
            instance=instance,
            processes=ProcessMarks(marks=tuple(boot_marks), changed_at=boot_changed_at),
            walls=None if walls is None else tuple(walls),
            clock_skew_seconds=clock_skew_seconds,
        ),
    )


def _read_trust(rows: str | list[list[Any]] | None) -> tuple[TrustRow, ...]:
    if not rows:
        return ()
    return tuple(TrustRow(*row) for row in (json.loads(rows) if isinstance(rows, str) else rows))


def _read_unresolved(weights: str | dict[str, Any] | None) -> dict[int, int]:
    if not weights:
        return {}
    read = json.loads(weights) if isinstance(weights, str) else weights
    return {int(level): int(weight) for level, weight in read.items()}


def note_identity(vehicle_id: int, about: AboutCar, *, clone_suspected_at: datetime | None) -> None:
    """Write what is new about a car; `clone_suspected_at` leaves the suspicion as it is where None."""
    execute(
        "note_identity",
        {
            "vehicle_id": vehicle_id,
            "instance": about.instance,
            "boot_marks": list(about.processes.marks),
            "boot_changed_at": about.processes.changed_at,
            "walls": None if about.walls is None else list(about.walls),
            "clock_skew_seconds": about.clock_skew_seconds,
            "clone_suspected_at": clone_suspected_at,
        },
    )
