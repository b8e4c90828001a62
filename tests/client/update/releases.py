"""Releases for the tests: small wheels of a client that does what a test wants, and a shelf that hands them out."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import textwrap
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

CLIENT_ROOT = Path(__file__).parents[3] / "client"

# What a version on trial may do. `report` is what a real agent does once it has synced.
HEALTHY = "report(); wait_for_end()"
SILENT = "wait_for_end()"
CRASHING = "raise SystemExit(41)"
CRASHING_LATER = "report(); raise SystemExit(42)"
RESTARTING = "report(); os._exit(75)"

_MAIN = """
import os, pathlib, signal, sys, threading
from fleetclient import __version__
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
state = pathlib.Path(os.environ["TEST_STATE"])
with (state / "started").open("a") as file:
    file.write(__version__ + " " + " ".join(sys.argv[1:]) + "\\n")
def report():
    (state / "client").mkdir(exist_ok=True)
    temporary = state / "client" / "healthy.new"
    temporary.write_text(__version__)
    temporary.replace(state / "client" / "healthy")
def wait_for_end():
    ended = threading.Event()
    while not ended.wait(0.05):
        pass
"""


def make_wheel(
    folder: Path,
    version: str,
    behaviour: str = HEALTHY,
    *,
    requires: tuple[str, ...] = (),
    python: str = ">=3.11",
    extra: dict[str, bytes] | None = None,
    replaced: dict[str, bytes] | None = None,
    name: str = "fleetcompute-client",
) -> Path:
    """Write a wheel; `extra` files are in RECORD, `replaced` files are swapped after RECORD was written."""
    metadata = f"fleetcompute_client-{version}.dist-info"
    requirements = "".join(f"Requires-Dist: {each}\n" for each in requires)
    files = {
        "fleetclient/__init__.py": f'__version__ = "{version}"\n'.encode(),
        "fleetclient/__main__.py": (_MAIN + textwrap.dedent(behaviour) + "\n").encode(),
        f"{metadata}/METADATA": (
            f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\nRequires-Python: {python}\n{requirements}\n"
        ).encode(),
        f"{metadata}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        **(extra or {}),
    }
    rows = [f"{path},sha256={_digest(content)},{len(content)}\n" for path, content in files.items()]
    files[f"{metadata}/RECORD"] = "".join([*rows, f"{metadata}/RECORD,,\n"]).encode()
    files |= replaced or {}
    path = folder / f"fleetcompute_client-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for each, content in files.items():
            archive.writestr(each, content)
    return path


def make_client_wheel(folder: Path, version: str) -> Path:
    """Write a wheel of the client in this working tree under another version."""
    metadata = f"fleetcompute_client-{version}.dist-info"
    files = {
        str(path.relative_to(CLIENT_ROOT)): path.read_bytes()
        for path in sorted((CLIENT_ROOT / "fleetclient").rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    init = files["fleetclient/__init__.py"].decode().split("__version__")[0]
    files["fleetclient/__init__.py"] = f'{init}__version__ = "{version}"\n'.encode()
    files[f"{metadata}/METADATA"] = f"Name: fleetcompute-client\nVersion: {version}\n".encode()
    files[f"{metadata}/WHEEL"] = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\n"
    rows = [f'"{path}",sha256={_digest(content)},{len(content)}\n' for path, content in files.items()]
    files[f"{metadata}/RECORD"] = "".join([*rows, f"{metadata}/RECORD,,\n"]).encode()
    path = folder / f"fleetcompute_client-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for each, content in files.items():
            archive.writestr(each, content)
    return path


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


@dataclass(frozen=True, kw_only=True)
class Offered:
    version: str
    target: str
    ring_percent: float = 100.0
    is_security: bool = False


@dataclass
class Shelf:
    """Stands for the trust gate, which these tests are not about; counts what was fetched."""

    channels: dict[str, Offered] = field(default_factory=dict)
    wheels: dict[str, Path] = field(default_factory=dict)
    fetched: list[str] = field(default_factory=list)

    def offer(self, wheel: Path, *, channel: str = "stable", ring_percent: float = 100.0, is_security: bool = False):
        version = wheel.name.split("-")[1]
        target = f"client/{wheel.name}"
        self.wheels[target] = wheel
        self.channels[channel] = Offered(
            version=version, target=target, ring_percent=ring_percent, is_security=is_security
        )

    def download(self, target: str) -> Path:
        self.fetched.append(target)
        return self.wheels[target]


_DRIVER = """
import sys, pathlib
from fleetclient.update.launcher import Launcher
launcher = Launcher(state_dir=pathlib.Path(sys.argv[1]), arguments=sys.argv[3:], installed_version="0.1.0",
                    health_seconds=float(sys.argv[2]), retry_seconds=0.0)
raise SystemExit(launcher.run())
"""


def start_launcher(
    state: Path, *, health_seconds: float = 60.0, fail_point: str = "", arguments: tuple[str, ...] = ("--version",)
) -> subprocess.Popen[str]:
    """Start the launcher as a service would. The installed client answers `--version`, and is then seen to have run."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(CLIENT_ROOT),
        "TEST_STATE": str(state),
        "FLEETCLIENT_FAIL_POINT": fail_point,
    }
    command = [sys.executable, "-P", "-c", _DRIVER, str(state), str(health_seconds), *arguments]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=state
    )


def read_state(state: Path) -> dict[str, object]:
    document: dict[str, object] = json.loads((state / "client" / "state.json").read_text())
    return document


def started(state: Path) -> list[str]:
    """Which versions ran, in order."""
    path = state / "started"
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []
