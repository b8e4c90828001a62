"""Vehicles as the wire meets them: one read that says who is calling and where he stands."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from workunits.domain.twins import ProcessMarks
from workunits.domain.types import UnitKey
from workunits.store.db import execute, fetch_one


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


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownVehicle:
    """A vehicle and its heartbeat row, as read at the start of a request.

    `open_leases` is what our books say it holds: a superset, since a sweep may have ended some. `may_lease` is what
    this request has found out, and no column. `counter` is the guard of the sync's transaction: it must not have moved
    meanwhile.
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
    about: AboutCar = field(default_factory=AboutCar)


def find_vehicle(public_id: str) -> KnownVehicle | None:
    """Return the vehicle with this public id, or None."""
    row = fetch_one("authenticate_vehicle", {"public_id": public_id})
    if row is None:
        return None
    vehicle_id, owner_id, key, status, counter, batch_ids, unit_numbers, cursor_batch, cursor_unit, misses, *more = row
    previous_key, clone_suspected_at, rules, instance, boot_marks, boot_changed_at, walls, clock_skew_seconds = more
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
        about=AboutCar(
            instance=instance,
            processes=ProcessMarks(marks=tuple(boot_marks), changed_at=boot_changed_at),
            walls=None if walls is None else tuple(walls),
            clock_skew_seconds=clock_skew_seconds,
        ),
    )


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
