"""Everything one evaluation looks at, and what each signal is worth at that moment."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from fleetclient.rules.calendar import is_clock_set, say_time
from fleetclient.rules.decision import Gate, LocalFacts, Memory, Now
from fleetclient.rules.settings import Rules
from fleetclient.vehicle.signals import BOOLEAN_SIGNALS, Signals, SignalValue

PRESENCE_SIGNALS: Final = ("parked", "plugged_in", "user_present")
# A source may stamp a reading just after the clock was read for the evaluation; more than this is a broken clock.
FUTURE_SECONDS: Final = 5.0
# Outside of these a number is not believed, and counts as unknown.
PLAUSIBLE: Final[dict[str, tuple[float, float]]] = {
    "soc_pct": (0, 100),
    "charge_limit_pct": (0, 100),
    "cabin_temp_c": (-60, 120),
    "pack_temp_c": (-60, 120),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Heard:
    """What is known of one signal.

    `last` is the last plausible value, however old, None when there is none. `known` is the same while it is fresh.
    `flips_in`: seconds until its freshness changes if nothing new is heard, infinity if it never does.
    """

    name: str
    last: SignalValue | None
    is_fresh: bool
    age_seconds: float | None
    flips_in: float

    @property
    def known(self) -> SignalValue | None:
        """The value where it may be relied on."""
        return self.last if self.is_fresh else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A gate, and in how many seconds its being open may change though nothing new is heard.

    `closes_at_unix`: when an open one closes whatever is heard, None when nobody knows.
    """

    gate: Gate
    flips_in: float = math.inf
    closes_at_unix: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """The arguments of one evaluation."""

    signals: Signals
    rules: Rules
    now: Now
    facts: LocalFacts
    memory: Memory

    def hear(self, name: str) -> Heard:
        """Return what one signal is worth now. It is fresh while younger than the rules' limit for it."""
        reading = self.signals.get(name)
        value = None if reading is None else _plausible(name, reading.value)
        if reading is None or value is None:
            return Heard(name=name, last=None, is_fresh=False, age_seconds=None, flips_in=math.inf)
        age = self.now.elapsed - reading.observed_at
        limit = self.get_age_max(name)
        # Compared as the edges are computed, so that what is said of the future comes true to the last digit.
        is_fresh = -FUTURE_SECONDS <= age < limit
        edges = [edge - age for edge in (-FUTURE_SECONDS, limit) if edge > age]
        return Heard(
            name=name,
            last=value,
            is_fresh=is_fresh,
            age_seconds=max(age, 0.0) if math.isfinite(age) else None,
            flips_in=min(edges, default=math.inf),
        )

    def get_age_max(self, name: str) -> float:
        """Return the age in seconds at which a signal is no longer believed."""
        is_presence = name in PRESENCE_SIGNALS
        return self.rules.presence_stale_seconds if is_presence else self.rules.other_stale_seconds

    @property
    def is_clock_set(self) -> bool:
        """Whether both clocks show a time that can be true."""
        return math.isfinite(self.now.elapsed) and is_clock_set(self.now.unix)

    def say_time(self, instant: float) -> str:
        """Return an instant on the car's wall clock, for people."""
        return say_time(self.rules.time_zone, self.now.unix, instant)

    def seconds_until(self, unix: float) -> float:
        """Return the seconds from now to an instant, at least 0."""
        return max(unix - self.now.unix, 0.0)


def _plausible(name: str, value: SignalValue | None) -> SignalValue | None:
    if name in BOOLEAN_SIGNALS:
        return value if isinstance(value, bool) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or name not in PLAUSIBLE:
        return None
    low, high = PLAUSIBLE[name]
    return value if low <= value <= high else None
