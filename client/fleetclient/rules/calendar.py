"""The wall clock of the car: weekly tables and local days as instants, across clock changes. Pure; answers are cached.

The rule is that the wall clock decides. At each instant we ask what a clock on the wall shows: local times that are
skipped in spring never come, those shown twice in autumn count twice, and a day has the 23 or 25 hours it has. The
instant of a local time (a ready-by time, a midnight) is the first at which the wall shows that time or a later one.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from fleetclient.rules.week import ALWAYS, DAYS, NEVER, Week, find, say_clock

DAY_SECONDS: Final = 86_400
# A clock that shows a time outside of these has not been set: a board without a battery wakes up in 1970.
CLOCK_MIN_UNIX: Final = 1_704_067_200.0  # 2024-01-01
CLOCK_MAX_UNIX: Final = 4_102_444_800.0  # 2100-01-01
# A weekly hour that a clock change swallows comes back a week later.
HORIZON_DAYS: Final = 16
_EPOCH: Final = dt.date(1970, 1, 1).toordinal()
_EPOCH_WEEKDAY: Final = 3


def is_clock_set(unix: float) -> bool:
    """Return whether a time can be true. The other functions here must not be asked about one that cannot."""
    return CLOCK_MIN_UNIX <= unix < CLOCK_MAX_UNIX


def _offset(zone: str, unix: int) -> int:
    moment = dt.datetime.fromtimestamp(unix, ZoneInfo(zone or "UTC"))
    offset = moment.utcoffset()
    assert offset is not None
    return offset // dt.timedelta(seconds=1)


@lru_cache(maxsize=512)
def _offset_pieces(zone: str, utc_day: int) -> tuple[tuple[int, int, int], ...]:
    """Return the pieces (start, end, seconds ahead of UTC) of a UTC day, to the second.

    Clocks change at most once within two hours anywhere, so that looking every hour misses nothing.
    """
    start = utc_day * DAY_SECONDS
    hours = range(start, start + DAY_SECONDS, 3600)
    changed = [hour for hour in hours if _offset(zone, hour) != _offset(zone, hour + 3600)]
    changes = [start, *(_find_change(zone, hour, hour + 3600) for hour in changed)]
    ends = [*changes[1:], start + DAY_SECONDS]
    return tuple((begin, end, _offset(zone, begin)) for begin, end in zip(changes, ends, strict=True) if begin < end)


def _find_change(zone: str, low: int, high: int) -> int:
    """Return the first second in (low, high] whose offset is not that of `low`."""
    before = _offset(zone, low)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _offset(zone, middle) == before else (low, middle)
    return high


@lru_cache(maxsize=512)
def _value_pieces(week: Week, default: float, zone: str, utc_day: int) -> tuple[tuple[int, float], ...]:
    """Return (start, value) of each piece of a UTC day in which the table's value is the same."""
    pieces: list[tuple[int, float]] = []
    for start, end, offset in _offset_pieces(zone, utc_day):
        for begin, value in _wall_pieces(week, default, start + offset, end + offset):
            if not pieces or pieces[-1][1] != value:
                pieces.append((begin - offset, value))
    return tuple(pieces)


def _wall_pieces(week: Week, default: float, start: int, end: int) -> Iterator[tuple[int, float]]:
    """Yield (start, value) along the wall clock, in seconds since 1970-01-01 on that clock."""
    for day in range(start // DAY_SECONDS, (end - 1) // DAY_SECONDS + 1):
        spans, midnight = week[_weekday(day)], day * DAY_SECONDS
        edges = {start, midnight, *(midnight + edge * 60 for span in spans for edge in span[:2])}
        for edge in sorted(edge for edge in edges if start <= edge < end and midnight <= edge < midnight + DAY_SECONDS):
            yield edge, find(spans, (edge - midnight) / 60, default)


def _weekday(day: int) -> int:
    return (day + _EPOCH_WEEKDAY) % 7


def get_value(week: Week, zone: str, unix: float, *, default: float = 0.0) -> float:
    """Return the table's value at an instant."""
    pieces = _value_pieces(week, default, zone, int(unix // DAY_SECONDS))
    return next(value for start, value in reversed(pieces) if start <= unix)


def find_next(
    week: Week, zone: str, unix: float, matches: Callable[[float], bool], *, default: float = 0.0
) -> float | None:
    """Return the first instant from `unix` on at which the table's value matches; None if not within 16 days."""
    if week in (ALWAYS, NEVER):
        return unix if matches(default if week == NEVER else 1.0) else None
    if matches(get_value(week, zone, unix, default=default)):
        return unix
    today = int(unix // DAY_SECONDS)
    for utc_day in range(today, today + HORIZON_DAYS):
        for start, value in _value_pieces(week, default, zone, utc_day):
            if start > unix and matches(value):
                return float(start)
    return None


def find_instant(zone: str, local_second: int) -> float:
    """Return the first instant at which the wall shows that time (seconds since 1970-01-01 on it) or a later one."""
    utc_day = local_second // DAY_SECONDS - 2
    while True:
        for start, end, offset in _offset_pieces(zone, utc_day):
            instant = max(start, local_second - offset)
            if instant < end:
                return float(instant)
        utc_day += 1


def get_local_second(zone: str, unix: float) -> int:
    """Return what the wall shows, in seconds since 1970-01-01 on it."""
    pieces = _offset_pieces(zone, int(unix // DAY_SECONDS))
    return int(unix) + next(offset for start, _, offset in reversed(pieces) if start <= unix)


def next_midnight(zone: str, unix: float) -> float:
    """Return the instant at which the wall's date moves on."""
    return find_instant(zone, (get_local_second(zone, unix) // DAY_SECONDS + 1) * DAY_SECONDS)


def next_month(zone: str, unix: float) -> float:
    """Return the instant at which the wall's month moves on."""
    today = dt.date.fromordinal(get_local_second(zone, unix) // DAY_SECONDS + _EPOCH)
    first = (today.replace(day=1) + dt.timedelta(days=32)).replace(day=1)
    return find_instant(zone, (first.toordinal() - _EPOCH) * DAY_SECONDS)


def find_date(zone: str, date: str) -> float:
    """Return the instant at which a day of the calendar (2026-08-15) begins."""
    return find_instant(zone, (dt.date.fromisoformat(date).toordinal() - _EPOCH) * DAY_SECONDS)


def next_time(times: tuple[tuple[int, ...], ...], zone: str, unix: float) -> float | None:
    """Return the next instant after `unix` of any of the local times (minutes of each weekday), None without any."""
    today = get_local_second(zone, unix) // DAY_SECONDS
    # From yesterday: where the clock is set back over midnight, yesterday's times are still to come.
    for day in range(today - 1, today + 9):
        instants = [find_instant(zone, day * DAY_SECONDS + minute * 60) for minute in times[_weekday(day)]]
        later = [instant for instant in instants if instant > unix]
        if later:
            return min(later)
    return None


def say_time(zone: str, unix: float, instant: float) -> str:
    """Return an instant for people: "Tue 06:00", with its date instead of the weekday where it is days away."""
    if not is_clock_set(instant):
        return "an unknown time"
    local = get_local_second(zone, instant)
    day, second = divmod(local, DAY_SECONDS)
    if abs(instant - unix) < 6 * DAY_SECONDS:
        name = DAYS[_weekday(day)].capitalize()
    else:
        name = dt.date.fromordinal(day + _EPOCH).isoformat()
    return f"{name} {say_clock(second // 60)}"
