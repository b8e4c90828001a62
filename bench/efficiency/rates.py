"""Rates without a guess at the edges: counted from one finished unit to another, both inside the same turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from bench.client.stage import BenchCar


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """One turn of the client, in Unix seconds."""

    began_at: float
    ended_at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishedUnit:
    """A unit whose output was on disk and in the journal at this moment."""

    at: float
    rows: int


def read_units(car: BenchCar) -> list[FinishedUnit]:
    """Return what the client's log says it finished, with the rows of the lease."""
    rows = {event["token"]: int(event["rows"]) for event in car.events("leased")}
    return [
        FinishedUnit(at=datetime.fromisoformat(event["ts"]).timestamp(), rows=rows[event["token"]])
        for event in car.events("finished")
    ]


def rate_of_units(units: Sequence[FinishedUnit], segment: Segment) -> tuple[int, float]:
    """Return rows and seconds from the first unit finished in a turn to the last; everything between is counted."""
    within = [unit for unit in units if segment.began_at <= unit.at <= segment.ended_at]
    if len(within) < 2:
        return 0, 0.0
    return sum(unit.rows for unit in within[1:]), within[-1].at - within[0].at


def rate_of(measured: tuple[int, float]) -> float:
    """Return rows a second."""
    rows, seconds = measured
    return rows / seconds
