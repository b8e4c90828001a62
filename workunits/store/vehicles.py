"""Vehicles as the wire meets them: one read that says who is calling and where he stands."""

from __future__ import annotations

from dataclasses import dataclass

from workunits.domain.types import UnitKey
from workunits.store.db import fetch_one


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownVehicle:
    """A vehicle and its heartbeat row, as read at the start of a request.

    `open_leases` is what our books say it holds: a superset, since a sweep may have ended some.
    `counter` is the guard of the sync's transaction: it must not have moved meanwhile.
    """

    vehicle_id: int
    owner_id: int
    public_key: bytes
    is_active: bool
    counter: int
    open_leases: tuple[UnitKey, ...]
    cursor_batch_id: int | None
    cursor_unit_number: int
    misses: int


def find_vehicle(public_id: str) -> KnownVehicle | None:
    """Return the vehicle with this public id, or None."""
    row = fetch_one("authenticate_vehicle", {"public_id": public_id})
    if row is None:
        return None
    vehicle_id, owner_id, key, status, counter, batch_ids, unit_numbers, cursor_batch, cursor_unit, misses = row
    return KnownVehicle(
        vehicle_id=vehicle_id,
        owner_id=owner_id,
        public_key=bytes(key),
        is_active=status == "active",
        counter=counter,
        open_leases=tuple(map(UnitKey, batch_ids, unit_numbers)),
        cursor_batch_id=cursor_batch,
        cursor_unit_number=cursor_unit,
        misses=misses,
    )
