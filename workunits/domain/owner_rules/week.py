"""Weekly tables of local times: when work is allowed, when it must be quiet, what a kilowatt-hour costs.

A `Week` has seven days, Monday first; each day is a tuple of spans (from, to, value) in minutes of the wall clock,
half-open, within [0, 1440], sorted, disjoint; neighbours with the same value are one. So equal weeks are equal tuples.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from workunits.domain.owner_rules.errors import RulesInvalid
from workunits.domain.owner_rules.values import suggest

Span = tuple[int, int, float]
Week = tuple[tuple[Span, ...], ...]

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
GROUPS: Final[dict[str, tuple[int, ...]]] = {
    **{day: (index,) for index, day in enumerate(DAYS)},
    "daily": (0, 1, 2, 3, 4, 5, 6),
    "weekdays": (0, 1, 2, 3, 4),
    "weekend": (5, 6),
}
MINUTES: Final = 1440
NEVER: Final[Week] = ((),) * 7
ALWAYS: Final[Week] = (((0, MINUTES, 1.0),),) * 7
NIGHT: Final[Week] = (((0, 360, 1.0), (1320, MINUTES, 1.0)),) * 7
WEEKEND: Final[Week] = ((),) * 5 + (((0, MINUTES, 1.0),),) * 2
_CLOCK: Final = re.compile(r"([01]\d|2[0-4]):([0-5]\d)")


def read_clock(text: Any, key: str) -> int:
    """Return the minute of the day that "HH:MM" names; "24:00" is the end of the day. Raises RulesInvalid."""
    match = _CLOCK.fullmatch(text) if isinstance(text, str) else None
    minute = int(match[1]) * 60 + int(match[2]) if match else MINUTES + 1
    if minute > MINUTES:
        raise RulesInvalid(f'{key} must be a time of day such as "07:00", not {text!r}')
    return minute


def say_clock(minute: int) -> str:
    """Return "HH:MM"; the end of a day is "24:00"."""
    return f"{minute // 60:02d}:{minute % 60:02d}"


def read_days(names: Any, key: str) -> tuple[int, ...]:
    """Return the weekdays (0 is Monday) that a name or a list of names means. Raises RulesInvalid."""
    listed = [names] if isinstance(names, str) else names
    if not isinstance(listed, list | tuple) or not listed:
        raise RulesInvalid(f"{key} must be a day or a list of days, not {names!r}; known: {', '.join(GROUPS)}")
    for name in listed:
        if not isinstance(name, str) or name not in GROUPS:
            raise RulesInvalid(f"{key}: unknown day {name!r}{suggest(str(name), GROUPS)}")
    return tuple(dict.fromkeys(index for name in listed for index in GROUPS[name]))


def read_hours(document: Any, key: str, presets: Mapping[str, Week]) -> Week:
    """Return the hours that a preset's name or a table of days means; raises RulesInvalid.

    A span whose end is not after its start goes on into the next day. Spans may overlap: the hours are their union.
    """
    if isinstance(document, str):
        if document not in presets:
            raise RulesInvalid(f"{key}: unknown preset {document!r}{suggest(document, presets)}")
        return presets[document]
    if not isinstance(document, Mapping):
        choices = ", ".join(f'"{name}"' for name in presets)
        raise RulesInvalid(f"{key} must be {choices} or a table of days, not {document!r}")
    hours = NEVER
    for name, spans in document.items():
        place = f"{key}.{name}"
        days = read_days(name, key)
        for text in [spans] if isinstance(spans, str) else _listed(spans, place):
            hours = unite(hours, lay(days, *_read_span(text, place), 1.0))
    return hours


def dump_hours(hours: Week, presets: Mapping[str, Week]) -> str | dict[str, list[str]]:
    """Return what `read_hours` reads back: a preset's name where one fits, else a table of all seven days."""
    for name, preset in presets.items():
        if preset == hours:
            return name
    return {
        day: [f"{say_clock(start)}-{say_clock(end)}" for start, end, _ in hours[index]]
        for index, day in enumerate(DAYS)
    }


def _listed(value: Any, key: str) -> Iterable[Any]:
    if not isinstance(value, list | tuple):
        raise RulesInvalid(f'{key} must be a list of spans such as ["22:00-06:00"], not {value!r}')
    return value


def _read_span(text: Any, key: str) -> tuple[int, int]:
    parts = text.split("-") if isinstance(text, str) else []
    if len(parts) != 2:
        raise RulesInvalid(f'{key} must hold spans such as "22:00-06:00", not {text!r}')
    return read_clock(parts[0].strip(), key), read_clock(parts[1].strip(), key)


def lay(days: Iterable[int], start: int, end: int, value: float) -> Week:
    """Return a week with one span on each of the days. From a time to the same time is one whole day."""
    week: list[list[Span]] = [[] for _ in DAYS]
    for day in days:
        if start < end:
            week[day].append((start, end, value))
            continue
        if start < MINUTES:
            week[day].append((start, MINUTES, value))
        if end > 0:
            week[(day + 1) % 7].insert(0, (0, end, value))
    return tuple(tuple(_merged(spans)) for spans in week)


def combine(
    first: Week, second: Week, function: Callable[[float, float], float], *, defaults: tuple[float, float]
) -> Week:
    """Return the week of `function(value of first, value of second)`; where nothing is laid, `defaults` hold.

    Where the result is `function(*defaults)` nothing is laid.
    """
    empty = function(*defaults)
    days = []
    for one, two in zip(first, second, strict=True):
        edges = sorted({0, MINUTES, *(edge for span in (*one, *two) for edge in span[:2])})
        spans = [
            (start, end, function(find(one, start, defaults[0]), find(two, start, defaults[1])))
            for start, end in itertools.pairwise(edges)
        ]
        days.append(tuple(_merged(span for span in spans if span[2] != empty)))
    return tuple(days)


def intersect(first: Week, second: Week) -> Week:
    """Return the hours that are in both, exactly."""
    return combine(first, second, min, defaults=(0.0, 0.0))


def unite(first: Week, second: Week) -> Week:
    """Return the hours that are in either."""
    return combine(first, second, max, defaults=(0.0, 0.0))


def find(spans: tuple[Span, ...], minute: float, default: float) -> float:
    """Return the value at a minute of a day."""
    return next((value for start, end, value in spans if start <= minute < end), default)


def _merged(spans: Iterable[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end, value in sorted(spans):
        if merged and merged[-1][1] >= start and merged[-1][2] == value:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]), value)
        else:
            merged.append((start, end, value))
    return merged
