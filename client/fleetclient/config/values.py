"""Values as the annotations of the options ask for them. Options use str, int, float, bool, Path, lists and tables.

A whole number is taken where a fraction is asked for, never the other way round, and a bool is never a number.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from fleetclient.config.errors import ConfigInvalid
from fleetclient.errors import ClientError

_SIMPLE: dict[Any, tuple[str, tuple[type, ...]]] = {
    str: ("a text", (str,)),
    Path: ("a path", (str,)),
    int: ("a whole number", (int,)),
    float: ("a number", (int, float)),
    bool: ("true or false", (bool,)),
}


def describe_type(hint: Any) -> str:
    """Return an annotation in the words of an error message and of the reference page."""
    if hint in _SIMPLE:
        return _SIMPLE[hint][0]
    if is_dataclass(hint):
        return "a table"
    arguments = get_args(hint)
    if get_origin(hint) is dict:
        return f"a table of {describe_type(arguments[1])} each"
    if get_origin(hint) is tuple and arguments[-1] is Ellipsis:
        return f"a list, each {describe_type(arguments[0])}"
    if get_origin(hint) is tuple:
        return f"a list of {len(arguments)} ({', '.join(map(describe_type, arguments))})"
    raise TypeError(f"options may not use {hint}")


def read_value(value: Any, hint: Any, *, key: str, where: str) -> Any:
    """Return a value that TOML gave, as the annotation asks; raises ConfigInvalid with key, place and expectation."""
    if is_dataclass(hint):
        return _read_table(value, hint, key=key, where=where)
    if get_origin(hint) is dict and isinstance(value, dict):
        each = get_args(hint)[1]
        return {name: read_value(content, each, key=f"{key}.{name}", where=where) for name, content in value.items()}
    try:
        return _convert(value, hint)
    except _Unfit:
        raise ConfigInvalid(f"{key} must be {describe_type(hint)}, not {value!r}{where}") from None


def parse_text(text: str, hint: Any) -> Any:
    """Return what a text from the environment or the command line stands for, still unchecked.

    Texts and paths are taken as they are, everything else as TOML writes it; a plain list may leave out its brackets.
    """
    if hint in (str, Path):
        return text
    is_list = get_origin(hint) is tuple
    for candidate in (text, f"[{text}]") if is_list else (text,):
        try:
            return tomllib.loads(f"value = {candidate}")["value"]
        except tomllib.TOMLDecodeError:
            continue
    return [part.strip() for part in text.split(",") if part.strip()] if is_list else text


def suggest(name: str, known: Iterable[str]) -> str:
    """Return the end of an error about an unknown key: the nearest known one, or all of them."""
    import difflib  # only a mistake needs it

    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known here: {', '.join(names)}"


class _Unfit(Exception):
    """A value is not of the type asked for; never leaves this module."""


def _read_table(value: Any, kind: Any, *, key: str, where: str) -> Any:
    if not isinstance(value, dict):
        raise ConfigInvalid(f"{key} must be a table, not {value!r}{where}")
    hints = get_type_hints(kind)
    known = [item.name for item in fields(kind)]
    for name in value:
        if name not in known:
            raise ConfigInvalid(f"unknown key {key}.{name}{suggest(name, known)}{where}")
    content = {name: read_value(each, hints[name], key=f"{key}.{name}", where=where) for name, each in value.items()}
    try:
        return kind(**content)
    except (ClientError, TypeError) as error:
        raise ConfigInvalid(f"{key}: {error}{where}") from None


def _convert(value: Any, hint: Any) -> Any:
    if hint in _SIMPLE:
        return _convert_simple(value, hint)
    arguments = get_args(hint)
    if get_origin(hint) is not tuple or not isinstance(value, list | tuple):
        raise _Unfit
    hints = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
    if len(hints) != len(value):
        raise _Unfit
    return tuple(_convert(each, part) for each, part in zip(value, hints, strict=True))


def _convert_simple(value: Any, hint: Any) -> Any:
    if not isinstance(value, _SIMPLE[hint][1]) or (isinstance(value, bool) and hint is not bool):
        raise _Unfit
    if hint is Path:
        return Path(str(value))
    return float(str(value)) if hint is float else value
