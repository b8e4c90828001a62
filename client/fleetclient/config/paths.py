"""Where files are by default: the folders of XDG for a person, those of the system for a service.

systemd's `STATE_DIRECTORY` and `CACHE_DIRECTORY` win over both. A person who asks about the service (`fleetclient
status`) finds it because the configuration came from the system's place. The control socket is in the state folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

APPLICATION = "fleetcompute"
SYSTEM_CONFIG = Path("/etc/fleetcompute/client.toml")


@dataclass(frozen=True, kw_only=True)
class Places:
    """Folders of one installation; none of them is made here."""

    state: Path
    cache: Path


def user_config(environment: Mapping[str, str]) -> Path:
    """Return the place of a person's own configuration."""
    return _xdg(environment, "XDG_CONFIG_HOME", ".config") / "client.toml"


def find_places(environment: Mapping[str, str], *, is_system: bool) -> Places:
    """Return the default folders; `is_system` when the configuration came from the system's place."""
    by_user = Places(
        state=_xdg(environment, "XDG_STATE_HOME", ".local/state"),
        cache=_xdg(environment, "XDG_CACHE_HOME", ".cache"),
    )
    by_system = Places(state=Path("/var/lib") / APPLICATION, cache=Path("/var/cache") / APPLICATION)
    chosen = by_system if is_system or environment.get("STATE_DIRECTORY") else by_user
    return Places(
        state=_of_systemd(environment, "STATE_DIRECTORY") or chosen.state,
        cache=_of_systemd(environment, "CACHE_DIRECTORY") or chosen.cache,
    )


def _xdg(environment: Mapping[str, str], name: str, below_home: str) -> Path:
    value = environment.get(name, "")
    # The XDG specification tells programs to ignore relative paths.
    base = Path(value) if value.startswith("/") else Path(environment.get("HOME") or Path.home()) / below_home
    return base / APPLICATION


def _of_systemd(environment: Mapping[str, str], name: str) -> Path | None:
    # systemd joins several folders by colons; the unit names one.
    first = environment.get(name, "").split(":", 1)[0]
    return Path(first) if first.startswith("/") else None
