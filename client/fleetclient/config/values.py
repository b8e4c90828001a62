"""Values as the annotations of the options ask for them. Options use str, int, float, bool, Path, lists and tables.

A whole number is taken where a fraction is asked for, never the other way round, and a bool is never a number.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, get_args, get_origin

from fleetclient.config.errors import ConfigInvalid

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
    for candidate in (text, f"[{text}]") if get_origin(hint) is tuple else (text,):
        try:
            return tomllib.loads(f"value = {candidate}")["value"]
        except tomllib.TOMLDecodeError:
            continue
    if get_origin(hint) is tuple:
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


class _Unfit(Exception):
    """A value is not of the type asked for; never leaves this module."""


def _convert(value: Any, hint: Any) -> Any:
    if hint in _SIMPLE:
        if not isinstance(value, _SIMPLE[hint][1]) or (isinstance(value, bool) and hint is not bool):
            raise _Unfit
        return Path(value) if hint is Path else float(value) if hint is float else value
    arguments = get_args(hint)
    if get_origin(hint) is dict:
        if not isinstance(value, dict):
            raise _Unfit
        return {name: _convert(each, arguments[1]) for name, each in value.items()}
    return _convert_list(value, arguments)


def _convert_list(value: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise _Unfit
    hints = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
    if len(hints) != len(value):
        raise _Unfit
    return tuple(_convert(each, hint) for each, hint in zip(value, hints, strict=True))
