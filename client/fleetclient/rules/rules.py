"""The owner's rules as a document: `[rules]` of the configuration file, and what the server sends. Strict both ways.

`read_rules(dump_rules(rules)) == rules` for all rules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any, Final

from fleetclient.rules.errors import RulesInvalid
from fleetclient.rules.settings import Rules, Times
from fleetclient.rules.tariff import dump_price_table, read_price_table
from fleetclient.rules.values import read_bool, read_number, read_text, suggest
from fleetclient.rules.week import (
    ALWAYS,
    DAYS,
    NEVER,
    NIGHT,
    WEEKEND,
    dump_hours,
    read_clock,
    read_days,
    read_hours,
    say_clock,
)

PRESETS: Final = {"always": ALWAYS, "night": NIGHT, "weekend": WEEKEND, "never": NEVER}
QUIET_PRESETS: Final = {"none": NEVER, "night": NIGHT, "weekend": WEEKEND, "always": ALWAYS}
# The word that stands for None: a limit that is not wanted, or a fact that is not known.
NO_LIMIT: Final = "none"
UNKNOWN: Final = "unknown"
WORDS: Final[dict[str, str]] = {
    "battery_kwh": UNKNOWN, "charger_kw": UNKNOWN, "price_per_kwh": UNKNOWN,
    "price_max_per_kwh": NO_LIMIT, "min_net_per_hour": NO_LIMIT, "hours_day_max": NO_LIMIT,
    "cabin_max_c": NO_LIMIT, "device_max_c": NO_LIMIT, "pack_max_c": NO_LIMIT, "temp_min_c": NO_LIMIT,
    "data_day_gb_max": NO_LIMIT, "data_month_gb_max": NO_LIMIT,
}  # fmt: skip
# Accepted so that a file can say what holds, and only with this value.
LOCKED: Final[dict[str, str]] = {
    "only_plugged_in": "the car works only while it is plugged in",
    "only_parked": "the car works only while it is parked",
}
__all__ = ["Rules", "RulesInvalid", "dump_rules", "read_rules"]
DEFAULTS: Final = Rules()
_NAMES: Final = tuple(item.name for item in fields(Rules))


def read_rules(document: Mapping[str, Any], *, base: Rules = DEFAULTS) -> Rules:
    """Return the rules that a document states; what it leaves out is as in `base`. Raises RulesInvalid.

    A server's document, which only tightens, is read over `tighten.LOOSEST`: what it leaves out it does not touch.
    """
    known = (*_NAMES, *LOCKED)
    for key in document:
        if key not in known:
            raise RulesInvalid(f"unknown key {key}{suggest(str(key), known)}")
    for key, meaning in LOCKED.items():
        if key in document and document[key] is not True:
            raise RulesInvalid(f"{key} cannot be turned off: {meaning}; leave the key out or write true")
    values = {key: _read_value(key, value) for key, value in document.items() if key not in (*LOCKED, "price_table")}
    if "price_table" in document:
        price = values.get("price_per_kwh", base.price_per_kwh)
        values["price_table"] = read_price_table(document["price_table"], base=price)
    return replace(base, **values)


def dump_rules(rules: Rules) -> dict[str, Any]:
    """Return a document of plain values (JSON, TOML) with every key, defaults included."""
    return {name: _dump_value(name, getattr(rules, name)) for name in _NAMES}


def _read_value(key: str, value: Any) -> Any:
    if key in _SPECIAL:
        return _SPECIAL[key][0](value, key)
    default = getattr(DEFAULTS, key)
    if isinstance(default, bool):
        return read_bool(value, key)
    if isinstance(default, str):
        return read_text(value, key)
    return read_number(value, key, word=WORDS.get(key, ""))


def _dump_value(key: str, value: Any) -> Any:
    if key in _SPECIAL:
        return _SPECIAL[key][1](value)
    return WORDS[key] if value is None else value


def _read_ready_by(document: Any, key: str) -> Times:
    """Return the ready-by times of a text for every day, or of a table that must speak of every day."""
    if isinstance(document, str):
        return (_read_times(document, key),) * 7
    if not isinstance(document, Mapping):
        raise RulesInvalid(f'{key} must be a time such as "07:00", "none" or a table of days, not {document!r}')
    week: dict[int, tuple[int, ...]] = {}
    for name, times in document.items():
        for day in read_days(name, f"{key}.{name}"):
            if day in week:
                raise RulesInvalid(f"{key} speaks of {DAYS[day]} twice")
            week[day] = _read_times(times, f"{key}.{name}")
    missing = [day for index, day in enumerate(DAYS) if index not in week]
    if missing:
        raise RulesInvalid(f'{key} says nothing of {", ".join(missing)}; write "none" for days without one')
    return tuple(week[index] for index in range(7))


def _read_times(document: Any, key: str) -> tuple[int, ...]:
    if document == "none":
        return ()
    times = [document] if isinstance(document, str) else document
    if not isinstance(times, list | tuple) or not times:
        raise RulesInvalid(f'{key} must be a time such as "07:00" or "none", not {document!r}')
    return tuple(sorted({read_clock(text, key) for text in times}))


def _dump_ready_by(week: Times) -> str | dict[str, Any]:
    days = {day: [say_clock(minute) for minute in times] or "none" for day, times in zip(DAYS, week, strict=True)}
    if len(set(week)) == 1 and len(week[0]) < 2:
        return days["mon"] if days["mon"] == "none" else days["mon"][0]
    return days


_Reader = Callable[[Any, str], Any]
_SPECIAL: Final[dict[str, tuple[_Reader, Callable[[Any], Any]]]] = {
    "ready_by": (_read_ready_by, _dump_ready_by),
    "windows": (lambda value, key: read_hours(value, key, PRESETS), lambda week: dump_hours(week, PRESETS)),
    "quiet_hours": (
        lambda value, key: read_hours(value, key, QUIET_PRESETS),
        lambda week: dump_hours(week, QUIET_PRESETS),
    ),
    # Read on its own, once the base price is known.
    "price_table": (lambda value, _: value, dump_price_table),
}
