"""Writes the systemd unit for this installation and says what to run next. Starts nothing by itself."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import ClassVar

from fleetclient.config.paths import SYSTEM_CONFIG, user_config
from fleetclient.errors import ClientError

UNIT = "fleetclient.service"
SYSTEM_FOLDER = Path("/etc/systemd/system")
ACCOUNT = "fleetcompute"


class ServiceNotInstalled(ClientError):
    """The unit could not be written; the text says why and how to mend it."""

    code: ClassVar[str] = "service_not_installed"


def make_unit(*, is_system: bool, config: Path | None = None, python: str = sys.executable) -> str:
    """Return the unit's text: it starts the launcher of this very installation."""
    command = [python, "-m", "fleetclient.launch", "run", *(["--config", str(config.resolve())] if config else [])]
    template = files("fleetclient.service").joinpath("system.service" if is_system else "user.service")
    return template.read_text("utf-8").replace("@COMMAND@", " ".join(map(_quote, command)))


def unit_path(*, is_system: bool, environment: Mapping[str, str] = os.environ) -> Path:
    """Return where the unit belongs."""
    if is_system:
        return SYSTEM_FOLDER / UNIT
    base = environment.get("XDG_CONFIG_HOME", "")
    home = Path(environment.get("HOME") or Path.home())
    return (Path(base) if base.startswith("/") else home / ".config") / "systemd" / "user" / UNIT


def write_unit(text: str, path: Path) -> None:
    """Write the unit; raises ServiceNotInstalled."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        path.chmod(0o644)
    except OSError as error:
        hint = "run it with sudo, or without --system" if isinstance(error, PermissionError) else "free the way"
        raise ServiceNotInstalled(f"{path} cannot be written: {error.strerror}; {hint}") from None


def list_next_steps(*, is_system: bool, has_config: bool, environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the commands that remain for the owner, in order."""
    if not is_system:
        config = user_config(environment)
        steps = [] if has_config else [f'mkdir -p {config.parent} && $EDITOR {config}   # server = "https://…"']
        return [
            *steps,
            "fleetclient pair",
            "systemctl --user daemon-reload",
            "systemctl --user enable --now fleetclient",
            "loginctl enable-linger   # so that it also runs while you are logged out",
        ]
    create = f"useradd --system --user-group --home-dir /var/lib/{ACCOUNT} --shell /usr/sbin/nologin {ACCOUNT}"
    return [
        f"id {ACCOUNT} >/dev/null 2>&1 || {create}",
        f"install -d -o {ACCOUNT} -g {ACCOUNT} -m 0700 /var/lib/{ACCOUNT} /var/cache/{ACCOUNT}",
        f'$EDITOR {SYSTEM_CONFIG}   # server = "https://…"; then: chown {ACCOUNT} and chmod 600',
        f"sudo -u {ACCOUNT} fleetclient pair",
        "systemctl daemon-reload",
        "systemctl enable --now fleetclient",
    ]


def _quote(part: str) -> str:
    # systemd's own quoting: % begins a specifier, $ a variable.
    return shlex.quote(part).replace("%", "%%").replace("$", "$$")
