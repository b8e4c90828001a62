"""What a kilowatt-hour costs at which hour: a price for all hours, and a table of those at which it costs another."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from workunits.domain.owner_rules.errors import RulesInvalid
from workunits.domain.owner_rules.values import read_number, suggest
from workunits.domain.owner_rules.week import (
    DAYS,
    MINUTES,
    NEVER,
    Week,
    combine,
    lay,
    read_clock,
    read_days,
    say_clock,
)

_NOTHING: Final = -math.inf
_KEYS: Final = ("price", "days", "from", "to")


def read_price_table(document: Any, *, base: float | None) -> Week:
    """Return the prices of a list of entries `{price, days, from, to}`; raises RulesInvalid.

    Two entries must not speak of the same minute. Hours at the `base` price need no entry and leave none.
    """
    if document == "none":
        return NEVER
    if isinstance(document, str | Mapping) or not isinstance(document, Sequence):
        raise RulesInvalid(f'price_table must be "none" or a list of entries, not {document!r}')
    table = NEVER
    for index, entry in enumerate(document):
        key = f"price_table[{index}]"
        laid = _read_entry(entry, key)
        _refuse_overlap(table, laid, key)
        table = combine(table, laid, max, defaults=(_NOTHING, _NOTHING))
    return table if base is None else combine(table, NEVER, _first, defaults=(base, base))


def _read_entry(entry: Any, key: str) -> Week:
    if not isinstance(entry, Mapping):
        raise RulesInvalid(f'{key} must be a table such as {{price = 0.12, from = "22:00", to = "06:00"}}')
    for name in entry:
        if name not in _KEYS:
            raise RulesInvalid(f"unknown key {key}.{name}{suggest(str(name), _KEYS)}")
    for name in ("price", "from", "to"):
        if name not in entry:
            raise RulesInvalid(f"{key}.{name} is missing")
    price = read_number(entry["price"], f"{key}.price")
    assert price is not None
    if not abs(price) <= 1e9:
        raise RulesInvalid(f"{key}.price must be from -1e9 to 1e9, not {price:g}")
    start, end = (read_clock(entry[name], f"{key}.{name}") for name in ("from", "to"))
    return lay(read_days(entry.get("days", "daily"), f"{key}.days"), start, end, price)


def _refuse_overlap(table: Week, laid: Week, key: str) -> None:
    both = combine(table, laid, min, defaults=(_NOTHING, _NOTHING))
    for day, spans in zip(DAYS, both, strict=True):
        if spans:
            raise RulesInvalid(f"{key}: there are two prices for {day} {say_clock(spans[0][0])}; make their hours meet")


def _first(first: float, second: float) -> float:  # noqa: ARG001 - called by `combine`
    return first


def dump_price_table(table: Week) -> str | list[dict[str, Any]]:
    """Return what `read_price_table` reads back: one entry for each span of each day."""
    if table == NEVER:
        return "none"
    return [
        {"price": price, "days": day, "from": say_clock(start), "to": say_clock(end)}
        for day, spans in zip(DAYS, table, strict=True)
        for start, end, price in spans
    ]


def check_table(week: Week, key: str) -> None:
    """Raise RulesInvalid unless a week is in the one form that week.py describes."""
    is_whole = len(week) == 7
    for spans in week:
        for start, end, value in spans:
            is_whole = is_whole and 0 <= start < end <= MINUTES and math.isfinite(value)
        for one, two in itertools.pairwise(spans):
            is_whole = is_whole and (one[1] < two[0] or (one[1] == two[0] and one[2] != two[2]))
    if not is_whole:
        raise RulesInvalid(f"{key} must be seven days of sorted spans that do not touch or overlap")


def raise_prices(first: Week, second: Week, *, bases: tuple[float, float]) -> Week:
    """Return the table of the higher price at each minute, over the higher of the two base prices."""
    return combine(first, second, max, defaults=bases)
