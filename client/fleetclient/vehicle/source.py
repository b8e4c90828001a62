"""The interface between a car and the agent. Position never passes through it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from fleetclient.vehicle.signals import Signals


class SignalSource(Protocol):
    """One way of hearing about a car. All implementations give the same twelve signals."""

    def start(self, wake: Callable[[], None]) -> None:
        """Begin to listen; `wake` (safe from any thread) is called whenever a signal has changed."""
        ...

    def read(self, now_elapsed: float) -> Signals:
        """Return the latest snapshot. Answers from memory, never blocks; called several times a second."""
        ...

    def stop(self) -> None:
        """Stop listening and release connections. Never raises; may be called twice."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class VehicleState:
    """What the agent's loop needs to know at one moment.

    `reasons` are the wire's reason codes and are empty exactly when the car is eligible. `absent_seconds` is how long
    the car is expected to stay ineligible, None when nobody knows. `is_finishing`: eligible for what is held, and no
    more of it is wanted.
    """

    eligible: bool
    reasons: tuple[str, ...] = ()
    absent_seconds: float | None = None
    is_finishing: bool = False


class VehicleSource(Protocol):
    """Says whether the car may compute. `read` is called several times a second: from memory, without blocking."""

    def read(self, now: float) -> VehicleState:
        """Return the state at `now`, on the boot clock."""
        ...
