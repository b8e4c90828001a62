"""Where a car's state folder is, found without reading the whole configuration.

The launcher is older than the version it starts: a key that only the new version knows must not stop it. So it looks
for `state_dir` alone, in the order in which the configuration does.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from fleetclient.config.paths import SYSTEM_CONFIG, find_places, user_config

VARIABLE: Final = "FLEET_STATE_DIR"
_KEY: Final = "state_dir"


def find_state_dir(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Path:
    """Return the state folder of the car that a command line is about."""
    set_here = [value for value in _values_of("--set", arguments) if value.startswith(f"{_KEY}=")]
    if set_here:
        return Path.cwd() / Path(set_here[-1].partition("=")[2]).expanduser()
    if environment.get(VARIABLE):
        return Path.cwd() / Path(environment[VARIABLE]).expanduser()
    named = _values_of("--config", arguments)
    files = [Path(named[-1])] if named else [SYSTEM_CONFIG, user_config(environment)]
    for path in files:
        found = _read_key(path)
        if found is not None:
            return found
    return find_places(environment, is_system=not named and SYSTEM_CONFIG.is_file()).state


def _values_of(option: str, arguments: Sequence[str]) -> list[str]:
    joined = [each.partition("=")[2] for each in arguments if each.startswith(f"{option}=")]
    following = [after for each, after in pairwise(arguments) if each == option]
    return joined + following


def _read_key(path: Path) -> Path | None:
    try:
        value = tomllib.loads(path.read_text("utf-8")).get(_KEY)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return None  # the client itself says what is wrong with it
    return path.parent.resolve() / Path(value).expanduser() if isinstance(value, str) and value else None
