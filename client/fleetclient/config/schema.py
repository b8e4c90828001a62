"""The keys and sections of the file, found in the option classes of all parts by their annotations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, get_type_hints

from fleetclient.config.model import Config
from fleetclient.rules.rules import Rules, dump_rules

NOT_KEYS = ("folder", "is_simulation", "request")
RULES = "rules"


@cache
def list_sections() -> dict[str, Any]:
    """Return every section (`vehicle`, `vehicle.teslamate`, …) with the class of its options."""
    return dict(_walk_sections("", Config))


@cache
def list_keys() -> dict[str, Any]:
    """Return every dotted key with the type of its value, but for `[rules]`, which the rules read by themselves."""
    keys = {name: hint for name, hint in _hints(Config).items() if not is_dataclass(hint) and name not in NOT_KEYS}
    for section, kind in list_sections().items():
        keys |= {f"{section}.{name}": hint for name, hint in _hints(kind).items() if not is_dataclass(hint)}
    return keys


def list_defaults() -> dict[str, Any]:
    """Return the default of every key that has one."""
    defaults = {item.name: item.default for item in fields(Config) if item.default is not MISSING}
    for section, kind in list_sections().items():
        made = kind()
        defaults |= {f"{section}.{item.name}": getattr(made, item.name) for item in fields(kind)}
    known = {key: value for key, value in defaults.items() if key in list_keys()}
    return known | {f"{RULES}.{name}": value for name, value in dump_rules(Rules()).items()}


def _walk_sections(prefix: str, kind: Any) -> Iterator[tuple[str, Any]]:
    for name, hint in _hints(kind).items():
        if is_dataclass(hint) and prefix + name != RULES:
            yield prefix + name, hint
            yield from _walk_sections(f"{prefix}{name}.", hint)


@cache
def _hints(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {item.name: hints[item.name] for item in fields(kind)}
