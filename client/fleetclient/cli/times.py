"""Times as people give and read them: 30m, 1h30m, until 07:00, forever. Always in the car's time zone."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import datetime, time, timedelta, tzinfo
from typing import ClassVar

from fleetclient.errors import ClientError

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?:in)?)?(?:(\d+)s)?")
_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")
_FOREVER = ("forever", "resume", "resumed")
DURATION_SECONDS_MAX = 366 * 86400.0


class TimeNotUnderstood(ClientError):
    """A time on the command line cannot be read; the text shows how to write it."""

    code: ClassVar[str] = "time_not_understood"


def read_until(words: Sequence[str], *, now_unix: float, zone: tzinfo) -> float:
    """Return the Unix time at which a pause ends, infinity for one that only `resume` ends."""
    text = " ".join(words).strip().lower()
    rest = text.removeprefix("until ").strip() if text.startswith("until") else ""
    if not text or text in _FOREVER or rest in _FOREVER:
        return math.inf
    if text.startswith("until"):
        return _read_moment(rest, now_unix, zone)
    return now_unix + read_duration(text)


def read_duration(text: str) -> float:
    """Return the seconds of 90s, 30m, 1h, 1h30m or 2d."""
    match = _DURATION.fullmatch(text.replace(" ", ""))
    if match is None or not any(match.groups()):
        raise TimeNotUnderstood(f"{text!r} is no time; write 30m, 1h30m, until 07:00 or forever")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    total = float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
    if not 0 < total <= DURATION_SECONDS_MAX:
        raise TimeNotUnderstood(f"{text!r} must be more than nothing and at most a year; or write forever")
    return total


def _read_moment(text: str, now_unix: float, zone: tzinfo) -> float:
    now = datetime.fromtimestamp(now_unix, zone)
    is_tomorrow = text.startswith("tomorrow")
    match = _CLOCK.fullmatch(text.removeprefix("tomorrow").strip())
    if match is None:
        return _read_date(text, now_unix, zone)
    clock = time(int(match[1]), int(match[2]))
    day = now.date() + timedelta(days=1) if is_tomorrow else now.date()
    moment = datetime.combine(day, clock, zone).timestamp()
    if moment <= now_unix:
        moment = datetime.combine(day + timedelta(days=1), clock, zone).timestamp()
    return moment


def _read_date(text: str, now_unix: float, zone: tzinfo) -> float:
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError:
        raise TimeNotUnderstood(f"until {text!r} is no time; write until 07:00 or until 2026-11-24T07:00") from None
    unix = (moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp()
    if unix <= now_unix:
        raise TimeNotUnderstood(f"until {text} has passed already")
    return unix
