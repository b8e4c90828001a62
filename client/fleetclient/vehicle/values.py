"""What others say, as values of ours: text or JSON in, a bool, a number or None for unknown out. Never raises."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from fleetclient.vehicle.signals import BOOLEAN_SIGNALS, SignalValue

# A number outside is a sensor that is broken or not there (Tesla: 255, Volkswagen: -50 and 205), hence unknown.
RANGES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "soc_pct": (0.0, 100.0),
        "charge_limit_pct": (0.0, 100.0),
        "cabin_temp_c": (-49.0, 120.0),
        "pack_temp_c": (-49.0, 120.0),
    }
)
NUMBER_CHARS_MAX = 40


def as_signal(name: str, value: object) -> SignalValue | None:
    """Return a value of the signal's own type, or None: yes and no are bools, never 0 and 1, and numbers plausible."""
    if name in BOOLEAN_SIGNALS:
        return value if isinstance(value, bool) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    low, high = RANGES[name]
    # A comparison is false for NaN; an integer may be too large for a float, but not for a comparison.
    return float(value) if low <= value <= high else None


def as_boolean(text: str) -> bool | None:
    """Return what "true" or "false" says, in any case."""
    return {"true": True, "false": False}.get(text.strip().casefold())


def as_number(text: str) -> float | None:
    """Return the finite number that a text says."""
    try:
        number = float(text[:NUMBER_CHARS_MAX])
    except ValueError:
        return None
    return number if math.isfinite(number) else None
