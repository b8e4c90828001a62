"""The twelve normalised signals: what any source says of a car, and the only thing that leaves a source.

Each is a value or unknown, with the time it was observed and the source that said so. Position is not among them:
a source that knows where the car is answers `at_home` and keeps the rest to itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

# Booleans; charge in percent of the battery; temperatures in degrees Celsius.
BOOLEAN_SIGNALS: Final = (
    "parked", "plugged_in", "charging", "at_home", "on_home_wifi", "user_present", "sentry_on", "updating",
)  # fmt: skip
NUMERIC_SIGNALS: Final = ("soc_pct", "charge_limit_pct", "cabin_temp_c", "pack_temp_c")
SIGNALS: Final = (
    "parked", "plugged_in", "charging", "soc_pct", "charge_limit_pct", "at_home", "on_home_wifi", "user_present",
    "cabin_temp_c", "pack_temp_c", "sentry_on", "updating",
)  # fmt: skip

SignalValue = bool | float


@dataclass(frozen=True, slots=True)
class Reading:
    """One signal: its value or None for unknown, when it was observed (seconds, boot clock), and who said so."""

    value: SignalValue | None
    observed_at: float
    source: str


@dataclass(frozen=True, slots=True)
class Signals:
    """A snapshot of all twelve. A signal that no source has ever spoken of is missing, which reads as unknown."""

    readings: Mapping[str, Reading] = field(default_factory=dict)

    def get(self, name: str) -> Reading | None:
        """Return the reading of a signal, or None when nobody has spoken of it."""
        return self.readings.get(name)

    def overlaid_with(self, other: Signals) -> Signals:
        """Return these signals with those that `other` knows (value not None) in their place."""
        known = {name: reading for name, reading in other.readings.items() if reading.value is not None}
        return Signals({**self.readings, **known})

    def __iter__(self) -> Iterator[tuple[str, Reading | None]]:
        for name in SIGNALS:
            yield name, self.readings.get(name)
