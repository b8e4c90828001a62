"""What every source's options are checked with: errors that name the key and say how to mend it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import ClassVar

from fleetclient.errors import ClientError
from fleetclient.vehicle.signals import SIGNALS


class SourceInvalid(ClientError):
    """The vehicle's source cannot be used as it is configured; the text names the key."""

    code: ClassVar[str] = "vehicle_source_invalid"


def suggest(word: str, known: Iterable[str]) -> str:
    """Return the end of an error's sentence: the nearest known word, or all of them."""
    import difflib  # only a mistake needs it

    words = list(known)
    close = difflib.get_close_matches(word, words, n=1)
    return f"did you mean {close[0]}?" if close else f"known here: {', '.join(words)}"


def require_signal_names(key: str, names: Iterable[str]) -> None:
    """Raise SourceInvalid unless all names are among the twelve."""
    for name in names:
        if name not in SIGNALS:
            raise SourceInvalid(f"{key}.{name} is not a signal; {suggest(name, SIGNALS)}")


def require_one_of(key: str, value: str, allowed: Iterable[str]) -> None:
    """Raise SourceInvalid unless a text is one of those allowed."""
    words = tuple(allowed)
    if value not in words:
        raise SourceInvalid(f"{key} must be one of {', '.join(words)}, not {value!r}")


def require_within(key: str, value: float, low: float, high: float) -> None:
    """Raise SourceInvalid unless a number is in the closed range; NaN never is."""
    if math.isnan(value) or not low <= value <= high:
        raise SourceInvalid(f"{key} must be from {low:g} to {high:g}, not {value:g}")


def require_topic(key: str, topic: str) -> None:
    """Raise SourceInvalid unless a text is one MQTT topic: no wildcard, so that nothing unasked for is ever heard."""
    if not topic or set(topic) & set("+#\0"):
        raise SourceInvalid(f"{key} must be one MQTT topic without + and #, not {topic!r}")
