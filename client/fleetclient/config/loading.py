"""The layers put on top of each other: command line, environment, file, the person's own file, defaults.

`--config FILE` stands alone among the files: a demonstration must not inherit the rules of the real car beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from fleetclient.config.errors import ConfigInvalid
from fleetclient.config.layers import (
    Layer,
    Setting,
    read_arguments,
    read_document,
    read_environment,
    read_file,
)
from fleetclient.config.model import Config
from fleetclient.config.paths import find_places, user_config
from fleetclient.config.request import Request
from fleetclient.config.schema import RULES, list_defaults, list_keys, list_sections
from fleetclient.errors import ClientError
from fleetclient.rules.rules import read_rules
from fleetclient.trust.options import check_trust

DEFAULT = "default"
# Whoever sets one of these wants a pretended car; everybody else has to name a real one.
PRETENDED = ("simulation.", "vehicle.simulation.", "vehicle.away", "vehicle.start_delay_seconds")


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A configuration with the origin of each of its values, and the files that were read, strongest first."""

    config: Config
    settings: dict[str, Setting]
    files: tuple[Path, ...]
    request: Request


def load(request: Request, *, needs_server: bool = True) -> Loaded:
    """Return the configuration; raises ConfigInvalid. `needs_server=False` for commands that never ask the server."""
    here = Path.cwd()
    files = list_files(request)
    layers = [
        read_arguments(request.assignments, folder=here),
        read_environment(request.environment, folder=here),
        *map(read_file, files),
    ]
    is_system = request.file is None and request.system_file in files
    settings = _merge(layers, request.environment, is_system=is_system)
    config = _build(settings, folder=files[0].parent.resolve() if files else here, request=request)
    if needs_server and not config.server:
        raise ConfigInvalid(f'server is missing: write server = "https://…" into {_where_to_write(request, files)}')
    return Loaded(config=config, settings=settings, files=tuple(files), request=request)


def reload(config: Config) -> Config:
    """Return a configuration read anew from where it came from, for SIGHUP; raises ConfigInvalid."""
    if config.request is None:
        raise ConfigInvalid("this configuration came from no file, so it cannot be read anew")
    return load(config.request, needs_server=bool(config.server)).config


def load_config(path: Path) -> Config:
    """Return the configuration in one file, environment and defaults; raises ConfigInvalid."""
    return load(Request(file=path)).config


def parse_config(document: dict[str, Any], *, folder: Path) -> Config:
    """Return the configuration in a parsed document, whatever the environment says; raises ConfigInvalid."""
    if "server" not in document:
        raise ConfigInvalid("server is missing")
    settings = _merge([read_document(document, folder=folder, origin="")], {}, is_system=False)
    return _build(settings, folder=folder)


def list_files(request: Request) -> list[Path]:
    """Return the files that a request reads, strongest first. A file that was named is read even if it is missing."""
    if request.file is not None:
        return [request.file]
    return [path for path in (request.system_file, user_config(request.environment)) if path.is_file()]


def _where_to_write(request: Request, files: list[Path]) -> Path:
    return files[0] if files else user_config(request.environment)


def _merge(layers: list[Layer], environment: Mapping[str, str], *, is_system: bool) -> dict[str, Setting]:
    chosen: Layer = {}
    for layer in reversed(layers):
        chosen |= layer
    every = _defaults(chosen, environment, is_system=is_system) | chosen
    known = [*list_keys(), *(key for key in every if key.startswith(f"{RULES}."))]
    return {key: every[key] for key in known}


def _defaults(chosen: Layer, environment: Mapping[str, str], *, is_system: bool) -> Layer:
    places = find_places(environment, is_system=is_system)
    # Whoever names a state folder gets one car in one folder, models included.
    named = chosen.get("state_dir")
    folders = {"state_dir": places.state, "cache_dir": named.value / "cache" if named else places.cache}
    values = {"server": "", **folders, **list_defaults()}
    if any(key.startswith(PRETENDED) for key in chosen):
        values["vehicle.source"] = "simulated"
    return {key: Setting(value=value, origin=DEFAULT) for key, value in values.items()}


def _build(settings: Mapping[str, Setting], *, folder: Path, request: Request | None = None) -> Config:
    values: dict[str, Any] = {"folder": folder, "is_simulation": _is_simulation(settings), "request": request}
    values |= {key: setting.value for key, setting in settings.items() if "." not in key}
    values |= {name: _build_section(name, kind, settings) for name, kind in list_sections().items() if "." not in name}
    with _naming(RULES, settings):
        values[RULES] = read_rules(_list_set_rules(settings))
    with _naming("trust", settings):
        check_trust(values["trust"], server=values["server"], is_simulation=values["is_simulation"])
    with _naming("", settings):
        return Config(**values)


def _build_section(section: str, kind: Any, settings: Mapping[str, Setting]) -> Any:
    content: dict[str, Any] = {}
    for item in fields(kind):
        key = f"{section}.{item.name}"
        inner = list_sections().get(key)
        content[item.name] = settings[key].value if inner is None else _build_section(key, inner, settings)
    with _naming(section, settings):
        return kind(**content)


def _list_set_rules(settings: Mapping[str, Setting]) -> dict[str, Any]:
    mine = {key.partition(".")[2]: each for key, each in settings.items() if key.startswith(f"{RULES}.")}
    return {name: each.value for name, each in mine.items() if each.origin != DEFAULT}


def _is_simulation(settings: Mapping[str, Setting]) -> bool:
    return any(key.startswith("simulation.") and each.origin != DEFAULT for key, each in settings.items())


@contextmanager
def _naming(section: str, settings: Mapping[str, Setting]) -> Iterator[None]:
    """Turn what a section says of its values into ConfigInvalid, with the section's name and the place of the key."""
    try:
        yield
    except ClientError as error:
        text = _with_section(str(error), section)
        origin = _find_origin(text, section, settings)
        raise ConfigInvalid(text + (f" ({origin})" if origin else "")) from None


def _find_origin(text: str, section: str, settings: Mapping[str, Setting]) -> str:
    """Return who set the first key that an error speaks of and that has no default value; empty when nobody did."""
    words = re.findall(r"[\w.]*\w", text)
    keys = (key for word in words for key in (word, f"{section}.{word}") if key in settings)
    return next((settings[key].origin for key in keys if settings[key].origin != DEFAULT), "")


def _with_section(text: str, section: str) -> str:
    """Return a section's error with the whole key: it names the key alone, after its section, or after both."""
    outer, _, name = section.rpartition(".")
    unknown = "unknown key "
    if not section or text.startswith(f"{section}."):
        return text
    if text.startswith(unknown):
        return f"{unknown}{section}.{text.removeprefix(unknown)}"
    prefix = outer if text.startswith(f"{name}.") else section
    return f"{prefix}.{text}" if prefix else text
