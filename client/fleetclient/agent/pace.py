"""When to sync, and how many units to hold. The server sets the pace; failures and departures bend it."""

from __future__ import annotations

import math

from fleetclient.backoff import Backoff

HURRY_SECONDS_MIN = 1.0
SHY_SECONDS = 30.0
SHY_SECONDS_MAX = 1800.0
UNITS_HELD_UNMEASURED = 4
SHORT_PACE_SECONDS = 10.0
HOLD_MARGIN = 1.5


class Pace:
    """The time of the next sync. A car never syncs before it except to hand work back, and then once a second."""

    def __init__(self, *, now: float, backoff: Backoff | None = None) -> None:
        self._backoff = backoff or Backoff()
        self._next_at = now
        self._began_at = now - HURRY_SECONDS_MIN
        self._hurried = False
        self.next_sync_seconds: float | None = None

    def due_at(self) -> float:
        """Return when the next sync is due, on the boot clock."""
        if self._hurried and self._backoff.failures == 0:
            return min(self._next_at, self._began_at + HURRY_SECONDS_MIN)
        return self._next_at

    def hurry(self) -> None:
        """There is something the server should hear before its time: work handed back."""
        self._hurried = True

    def began(self, now: float) -> None:
        """A sync was sent."""
        self._began_at = now
        self._hurried = False

    def answered(self, now: float, next_sync_seconds: float) -> None:
        """The server answered and set the pace."""
        self._backoff.succeeded()
        self.next_sync_seconds = next_sync_seconds
        self._next_at = now + next_sync_seconds

    def failed(self, now: float, retry_after_seconds: float | None) -> float:
        """Return the seconds until the next attempt, after a sync that did not get through."""
        wait = self._backoff.failed(retry_after_seconds, spread_seconds=self.next_sync_seconds or 0.0)
        self._next_at = now + wait
        return wait


class Shyness:
    """Asks for nothing for a while after a car had to refuse all that it was given: the next would be the same."""

    def __init__(self) -> None:
        self._in_a_row = 0
        self._until = float("-inf")

    def is_shy(self, now: float) -> bool:
        """Return True while no work should be asked for."""
        return now < self._until

    def leased(self, count: int, *, refused: int, now: float) -> None:
        """Note how many units of an answer could not be taken; each time in a row doubles the wait."""
        if count == 0:
            return
        if refused < count:
            self._in_a_row = 0
            return
        self._until = now + min(SHY_SECONDS * 2.0 ** min(self._in_a_row, 30), SHY_SECONDS_MAX)
        self._in_a_row += 1


def count_units_to_hold(*, next_sync_seconds: float | None, unit_seconds: float | None, replicas_max: int) -> int:
    """Return how many units keep the runner busy until the sync after next, with a margin, and no more.

    Every unit held beyond that is one that a faster car could have finished. Before the first unit was timed a few
    are asked for, unless the next chance to ask is far off.
    """
    if unit_seconds is None or next_sync_seconds is None:
        is_near = next_sync_seconds is None or next_sync_seconds <= SHORT_PACE_SECONDS
        return min(replicas_max, UNITS_HELD_UNMEASURED) if is_near else replicas_max
    needed = math.ceil(HOLD_MARGIN * next_sync_seconds / max(unit_seconds, 1e-3)) + 1
    return min(replicas_max, needed)
