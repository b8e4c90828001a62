"""The interface between a car and the agent. Position never passes through it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class VehicleState:
    """What a source knows at one moment.

    `reasons` are the wire's reason codes and are empty exactly when the car is eligible. `absent_seconds` is how long
    the car is expected to stay ineligible, None when nobody knows.
    """

    eligible: bool
    reasons: tuple[str, ...] = ()
    absent_seconds: float | None = None


class VehicleSource(Protocol):
    """Reads the car. `read` is called several times a second: it answers from memory and never blocks."""

    def read(self, now: float) -> VehicleState:
        """Return the state at `now`, on the boot clock."""
        ...
