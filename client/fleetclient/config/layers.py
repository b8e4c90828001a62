"""Settings with their origin, from one place each: a file, the environment, the command line.

A layer is flat: dotted keys to settings. An unknown key is an error that suggests the right one, wherever it stands.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetclient.config.errors import ConfigInvalid
from fleetclient.config.schema import RULES, list_keys, list_sections
from fleetclient.config.secrets import is_secret, require_private
from fleetclient.config.values import parse_text, read_value, suggest

ENVIRONMENT_PREFIX = "FLEET_"
LOG_VARIABLE = "FLEET_LOG"


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One value and where it was set: `default`, a file, a variable, or the command line."""

    value: Any
    origin: str


Layer = dict[str, Setting]


def read_file(path: Path) -> Layer:
    """Return the settings in a TOML file; raises ConfigInvalid, also for a secret that others can read."""
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigInvalid(f"{path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigInvalid(f"{path} is not TOML: {error}") from None
    layer = read_document(document, folder=path.parent.resolve(), origin=f"file {path}")
    if any(is_secret(key, setting.value) for key, setting in layer.items()):
        require_private(path, because="holds a secret")
    return layer


def read_document(document: Mapping[str, Any], *, folder: Path, origin: str) -> Layer:
    """Return the settings in a parsed document; relative paths are relative to `folder`."""
    layer: Layer = {}
    _read_section(layer, "", document, folder=folder, origin=origin)
    return layer


def _read_section(layer: Layer, prefix: str, content: Mapping[str, Any], *, folder: Path, origin: str) -> None:
    for name, value in content.items():
        key = prefix + name
        if key not in list_sections() and key != RULES:
            layer[key] = _read(key, value, folder=folder, origin=origin)
        elif isinstance(value, dict):
            _read_section(layer, f"{key}.", value, folder=folder, origin=origin)
        else:
            raise ConfigInvalid(f"{key} is a section, write [{key}]{_where(origin)}")


def read_environment(environment: Mapping[str, str], *, folder: Path) -> Layer:
    """Return the settings in `FLEET_*` variables: `FLEET_SERVER`, `FLEET_RULES__SOC_START_PCT`.

    Two underscores stand for the dot. Variables of other programs with our prefix are left alone, but within a
    section of ours an unknown key is an error. `FLEET_LOG` is short for `FLEET_LOG_LEVEL`.
    """
    layer: Layer = {}
    for variable, text in environment.items():
        key = "log_level" if variable == LOG_VARIABLE else _key_of_variable(variable)
        if key is not None:
            layer[key] = _read_text(key, text, folder=folder, origin=f"environment {variable}")
    return layer


def read_arguments(assignments: Iterable[str], *, folder: Path) -> Layer:
    """Return the settings of `--set KEY=VALUE`."""
    layer: Layer = {}
    for assignment in assignments:
        key, is_given, text = assignment.partition("=")
        if not is_given:
            raise ConfigInvalid(f"--set needs KEY=VALUE, such as limits.replicas=4, not {assignment!r}")
        layer[key.strip()] = _read_text(key.strip(), text, folder=folder, origin="command line")
    return layer


def variable_of(key: str) -> str:
    """Return the environment variable that sets a key."""
    return ENVIRONMENT_PREFIX + key.replace(".", "__").upper()


def _key_of_variable(variable: str) -> str | None:
    if not variable.startswith(ENVIRONMENT_PREFIX):
        return None
    key = variable.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".")
    section, dot, _ = key.partition(".")
    is_ours = section in list_sections() or section == RULES if dot else key in list_keys()
    return key if is_ours else None


def _read_text(key: str, text: str, *, folder: Path, origin: str) -> Setting:
    return _read(key, parse_text(text, _hint(key, origin=origin)), folder=folder, origin=origin)


def _read(key: str, raw: Any, *, folder: Path, origin: str) -> Setting:
    hint = _hint(key, origin=origin)
    value = raw if hint is Any else read_value(raw, hint, key=key, where=_where(origin))
    if isinstance(value, Path):
        value = folder / value.expanduser()
    elif isinstance(value, str) and value and key.endswith(("_file", "_dir")):
        value = str(folder / Path(value).expanduser())
    elif key == "server" and isinstance(value, str):
        value = value.rstrip("/")
    return Setting(value=value, origin=origin)


def _hint(key: str, *, origin: str) -> Any:
    """Return the type of a key; Any for the owner's rules, which have a reader of their own."""
    known = list_keys()
    if key in known:
        return known[key]
    section, _, name = key.rpartition(".")
    if section == RULES:
        return Any
    names = [each for each in (*known, *list_sections(), RULES) if each.rpartition(".")[0] == section]
    if not names:
        section, name, names = "", section, [*list_sections(), RULES]
    raise ConfigInvalid(
        f"unknown key {key}{suggest(name, [each.rpartition('.')[2] for each in names])}{_where(origin)}"
    )


def _where(origin: str) -> str:
    return f" ({origin})" if origin else ""
