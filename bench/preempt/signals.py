"""Why a car is needed, as TeslaMate says it: the change, and the value that takes it back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bench.client.teslamate import PARKED, TeslaMate


@dataclass(frozen=True, slots=True)
class Departure:
    """One topic's change to a value that forbids work."""

    key: str
    value: str

    @property
    def name(self) -> str:
        """How reports call it."""
        return f"{self.key}={self.value}"

    def happen(self, teslamate: TeslaMate) -> float:
        """Publish it; return the moment before, on the monotonic clock."""
        return teslamate.say(self.key, self.value)

    def end(self, teslamate: TeslaMate) -> None:
        """Publish that all is well again."""
        teslamate.say(self.key, PARKED[self.key])
        teslamate.pulse()


DEPARTURES: Final = (
    Departure("shift_state", "D"),
    Departure("shift_state", "R"),
    Departure("state", "driving"),
    Departure("plugged_in", "false"),
    Departure("charging_state", "Disconnected"),
    Departure("charging_state", "NoPower"),
    Departure("is_user_present", "true"),
    Departure("doors_open", "true"),
    Departure("is_climate_on", "true"),
    Departure("is_preconditioning", "true"),
    Departure("state", "updating"),
    Departure("state", "offline"),
    Departure("usable_battery_level", "20"),
    Departure("inside_temp", "58.0"),
)
