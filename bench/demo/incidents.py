"""What befalls the fleet while it works: one car drives off and comes back, one is killed and starts again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from bench.demo.cars import Car

LEAVES_AT_SHARE: Final = 0.10
AWAY_SECONDS: Final = 8.0
DIES_AT_SHARE: Final = 0.20
# From this share of the work on, nobody waits any longer for the middle of a unit.
LATEST_SHARE: Final = 0.60
REPAIRED_SECONDS_MAX: Final = 30.0


class Departure:
    """Drives a car off in the middle of a unit and brings it back some seconds later."""

    def __init__(self, car: Car) -> None:
        self._car = car
        self._left_at: float | None = None
        self.is_over = False

    def look(self, share: float, now: float) -> str | None:
        """Return a sentence when something happens. `share` of the work is done; `now` is monotonic, in seconds."""
        if self.is_over:
            return None
        if self._left_at is None:
            where = _in_the_middle(self._car, share, LEAVES_AT_SHARE)
            if where is None:
                return None
            self._car.drive_off()
            self._left_at = now
            return f"{self._car} drives off {where}."
        if now - self._left_at < AWAY_SECONDS:
            return None
        self._car.come_back()
        self.is_over = True
        handed_back = self._car.count_events("handed_back")
        return f"{self._car} is back and plugged in; it had handed back {handed_back} work units for others to do."


class Crash:
    """Kills a car's computer in the middle of a unit, and starts it again once its leases have run out."""

    def __init__(self, car: Car, *, count_expired: Callable[[Car], int]) -> None:
        self._car = car
        self._count_expired = count_expired
        self._died_at: float | None = None
        self.is_over = False

    def look(self, share: float, now: float) -> str | None:
        """Return a sentence when something happens, as in `Departure`."""
        if self.is_over:
            return None
        if self._died_at is None:
            where = _in_the_middle(self._car, share, DIES_AT_SHARE)
            if where is None:
                return None
            self._car.kill()
            self._died_at = now
            return f"{self._car} loses power {where} (kill -9). The server is not told."
        expired = self._count_expired(self._car)
        if not expired and now - self._died_at < REPAIRED_SECONDS_MAX:
            return None
        self._car.start()
        self.is_over = True
        return f"{self._car}: {expired} leases have run out, and others take its work. Its computer starts again."


def look_at_all(incidents: list[Departure | Crash], share: float, now: float) -> Iterator[str]:
    """Yield a sentence for each thing that happens now."""
    for incident in incidents:
        sentence = incident.look(share, now)
        if sentence is not None:
            yield sentence


def _in_the_middle(car: Car, share: float, from_share: float) -> str | None:
    """Return where in a unit the car is, when it is time for it to stop there."""
    if share < from_share or not car.is_running:
        return None
    row = car.row_in_hand()
    if row is not None:
        return f"in the middle of a work unit, at row {row[0]} of {row[1]}"
    return "with work in hand" if share >= LATEST_SHARE else None
