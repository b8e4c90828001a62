"""`support-bundle`: a zip for whoever helps, of texts without a key, token, password, place or name of a network.

What goes in is listed before anything is written, and everything passes through the redactor once more. Files of the
state folder are never copied as they are.
"""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from fleetclient import __version__
from fleetclient.config import Config, Request
from fleetclient.config.layers import Setting
from fleetclient.config.secrets import HIDDEN, is_secret
from fleetclient.doctor import examine
from fleetclient.doctor.context import Context, open_context
from fleetclient.logs import list_log_files, make_redactor
from fleetclient.redaction import Redactor
from fleetclient.state import StateFolder
from fleetclient.words import say_bytes

LOG_BYTES_MAX = 512 * 1024
# Keys whose values say where the car lives or who it talks to at home.
PRIVATE_KEYS = ("allowed_ssids", "allowed_gateways", "home_names", "username", "topic", "availability_topic", "signals")
PACKAGES = (
    "cryptography",
    "numpy",
    "onnxruntime",
    "paho-mqtt",
    "py-landlock",
    "pyseccomp",
    "requests",
    "safetensors",
    "tuf",
)


def collect(request: Request) -> dict[str, str]:
    """Return the bundle's texts by file name."""
    context = open_context(request)
    redactor = make_redactor(context.config) if context.config else Redactor()
    texts = {
        "versions.json": _dump(_versions()),
        "doctor.json": _dump(examine(request).as_document()),
        "configuration.json": _dump(_configuration(context)),
    }
    if context.config is not None:
        texts |= _state(context.config)
    return {name: _redact(text, redactor) for name, text in texts.items()}


def ask_and_write(
    request: Request, *, output: Path | None, yes: bool, ask: Callable[[str], str] = input
) -> Path | None:
    """Show what goes in, ask, and write the file; return it, or None when the owner said no."""
    texts = collect(request)
    path = output or Path.cwd() / f"fleetclient-support-{datetime.now(UTC):%Y%m%d-%H%M%S}.zip"
    _say("This goes into the bundle, all of it text that you can read:")
    for name, text in texts.items():
        _say(f"  {name:24} {say_bytes(len(text.encode()))}")
    _say("Not in it: keys, passwords, tokens, names of networks, places, models, inputs and results.")
    if not yes and ask(f"Type yes to write {path}: ").strip().lower() != "yes":
        _say("Nothing was written.")
        return None
    write(texts, path)
    _say(f"Written: {path}")
    return path


def write(texts: dict[str, str], path: Path) -> None:
    """Write the zip file, for its owner only."""
    path.touch(mode=0o600)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in texts.items():
            archive.writestr(name, text)


def _versions() -> dict[str, Any]:
    installed = {each.metadata["Name"].lower(): each.version for each in distributions()}
    return {
        "fleetclient": __version__,
        "python": sys.version,
        "packages": {name: installed.get(name) for name in PACKAGES},
    }


def _configuration(context: Context) -> dict[str, Any]:
    if context.loaded is None:
        return {"problem": context.problem}
    settings = context.loaded.settings
    return {
        "files": [str(path) for path in context.loaded.files],
        "values": {key: {"value": _value(key, each), "origin": each.origin} for key, each in settings.items()},
    }


def _value(key: str, setting: Setting) -> Any:
    is_private = key.rsplit(".", 1)[-1] in PRIVATE_KEYS
    return HIDDEN if setting.value and (is_private or is_secret(key, setting.value)) else setting.value


def _state(config: Config) -> dict[str, str]:
    if not config.state_dir.is_dir():
        return {}
    texts = {"status.json": _dump(_without_networks(StateFolder(config.state_dir).read_status()))}
    for name in ("usage.json", "selftest.json", "crashes.json"):
        path = config.state_dir / name
        if path.is_file():
            texts[name] = path.read_text("utf-8", "replace")
    if config.log_file:
        texts["log.txt"] = "".join(_last_logs(Path(config.log_file)))
    return texts


def _without_networks(status: dict[str, Any]) -> dict[str, Any]:
    """Return a status without the sentences in which the present network's name may stand."""
    gates = [
        {**gate, "detail": HIDDEN} if gate["reason"] == "not_home_wifi" else gate for gate in status.get("gates", [])
    ]
    is_named = "not_home_wifi" in status.get("reasons", [])
    return {**status, "gates": gates, **({"sentence": HIDDEN} if is_named else {})}


def _last_logs(path: Path) -> Iterator[str]:
    left = LOG_BYTES_MAX
    parts: list[str] = []
    for file in reversed(list_log_files(path)):
        text = file.read_text("utf-8", "replace")[-left:]
        parts.append(text)
        left -= len(text)
        if left <= 0:
            break
    yield from reversed(parts)


def _redact(text: str, redactor: Redactor) -> str:
    """Redact a text line by line; lines and documents in JSON member by member, since names tell what a value is."""
    try:
        return _dump(redactor.redact(json.loads(text)))
    except ValueError:
        return "\n".join(_redact_line(line, redactor) for line in text.splitlines())


def _redact_line(line: str, redactor: Redactor) -> str:
    try:
        return json.dumps(redactor.redact(json.loads(line)), default=str)
    except ValueError:
        return str(redactor.redact(line))


def _dump(document: Any) -> str:
    return json.dumps(document, indent=1, default=str)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
