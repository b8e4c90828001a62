"""What to keep and what to hand back when the car is not ours to use. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from fleetclient.units import Unit


def list_units_to_hand_back(
    units: Iterable[Unit], *, now: float, absent_seconds: float | None, unit_seconds: float | None, hand_back: bool
) -> list[Unit]:
    """Return the held units that should go to other cars.

    All of them when the owner's setting says so or nobody knows how long the absence will last; otherwise those that
    could not be finished after it, in the order in which the runner would come to them.
    """
    if hand_back or absent_seconds is None:
        return list(units)
    leaving, begins_at = [], now + absent_seconds
    for unit in units:
        ends_at = begins_at + (unit_seconds or 0.0)
        if unit.deadline_at is None or ends_at > unit.deadline_at:
            leaving.append(unit)
        else:
            begins_at = ends_at
    return leaving
