"""Reading single values of the owner's document: the right type, within its range, or an error that helps."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from workunits.domain.owner_rules.errors import RulesInvalid


def suggest(name: str, known: Iterable[str]) -> str:
    """Return the end of an error about an unknown name: the nearest known one, or all of them."""
    import difflib  # only a mistake needs it

    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(names)}"


def read_number(value: Any, key: str, *, word: str = "") -> float | None:
    """Return a finite number, or None for the one word that may stand in its place. Raises RulesInvalid."""
    if word and value == word:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # A whole number may be too large for a float; its range is checked afterwards.
    number = float(value) if is_number and abs(value) < 1e300 else math.nan
    if not math.isfinite(number):
        choice = f' or "{word}"' if word else ""
        raise RulesInvalid(f"{key} must be a number{choice}, not {value!r}")
    return number


def read_bool(value: Any, key: str) -> bool:
    """Return a boolean; raises RulesInvalid."""
    if not isinstance(value, bool):
        raise RulesInvalid(f"{key} must be true or false, not {value!r}")
    return value


def read_text(value: Any, key: str) -> str:
    """Return a text; raises RulesInvalid. TOML's own dates are taken as their text."""
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return value.isoformat()
    if not isinstance(value, str):
        raise RulesInvalid(f"{key} must be a text, not {value!r}")
    return value


def check_zone(name: str, key: str) -> None:
    """Raise RulesInvalid where a name is not an IANA time zone that this computer knows."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise RulesInvalid(
            f'{key}: there is no time zone {name!r}; write an IANA name such as "Europe/Berlin"'
        ) from None


def is_date(text: str) -> bool:
    """Return whether a text is a day of the calendar in the form 2026-08-15, between 2000 and 2099."""
    try:
        day = dt.date.fromisoformat(text)
    except ValueError:
        return False
    return day.isoformat() == text and 2000 <= day.year < 2100
