"""`config show`: every value, and where it was set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fleetclient.cli.session import EXIT_OK, Session
from fleetclient.config.layers import Setting
from fleetclient.config.secrets import HIDDEN, is_secret


def show(session: Session) -> int:
    """Print the configuration as TOML-like lines, strongest files first."""
    loaded = session.loaded
    shown = {key: showable(key, setting) for key, setting in loaded.settings.items()}
    with_origin = {key: {"value": shown[key], "origin": each.origin} for key, each in loaded.settings.items()}
    document = {"files": [str(path) for path in loaded.files], "values": with_origin}
    session.show(document, "\n".join(_lines(session, shown)))
    return EXIT_OK


def _lines(session: Session, shown: dict[str, Any]) -> list[str]:
    files = ", ".join(map(str, session.loaded.files)) or "none"
    lines = [f"# files read: {files}"]
    for key, value in shown.items():
        line = f"{key} = {json.dumps(value, ensure_ascii=False)}"
        origin = session.loaded.settings[key].origin
        lines.append(f"{line:60}  # {origin}" if session.options.origin else line)
    return lines


def showable(key: str, setting: Setting) -> Any:
    """Return a setting for people and programs, without its secret."""
    return HIDDEN if is_secret(key, setting.value) else plain(setting.value)


def plain(value: Any) -> Any:
    """Return a value as JSON knows it: options of their own kind become tables."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    slots = getattr(value, "__dataclass_fields__", None)
    return {name: plain(getattr(value, name)) for name in slots} if slots else value
