"""FLEET_HOME: the folder that holds everything an embedded installation keeps.

keys/      secrets, mode 0600
run/       supervisor.lock, endpoints.json (addresses of the running services), children.json (their process ids)
log/       one file a program
blobs/     the blob store
postgres/  valkey/    data of the services, elsewhere when an unprivileged user could not reach them (`identity`)
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fleetcompute.embedded.errors import EmbeddedError

PROJECT_ROOT = Path(__file__).resolve().parents[2]


class Home:
    """Paths below one FLEET_HOME, its lock, and the small JSON files that programs find each other by."""

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()
        self.keys = self.root / "keys"
        self.run = self.root / "run"
        self.log = self.root / "log"
        self.blobs = self.root / "blobs"
        self.endpoints_path = self.run / "endpoints.json"
        self.children_path = self.run / "children.json"
        self.lock_path = self.run / "supervisor.lock"

    def prepare(self) -> None:
        """Create the folders, private to this user.

        Run by root, the home itself lets others pass through (never list), so that the services' user can reach its
        own data in it. No folder above the home is ever changed.
        """
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.keys, self.run, self.log, self.blobs):
                folder.mkdir(mode=0o700, exist_ok=True)
            if os.geteuid() == 0:
                self.root.chmod(self.root.stat().st_mode | 0o011)
        except OSError as error:
            raise EmbeddedError(f"FLEET_HOME ({self.root}) cannot be used: {error.strerror}.") from None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold this home for one supervisor; the kernel frees the lock however this process ends."""
        self.prepare()
        with self.lock_path.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise EmbeddedError(
                    f"Another supervisor already runs on {self.root}; stop it first (see `status` and `down`)."
                ) from None
            yield

    def is_locked(self) -> bool:
        """Tell whether a supervisor runs on this home."""
        try:
            with self.lock_path.open("a") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def read_endpoints(self) -> dict[str, Any]:
        """Return what the running supervisor wrote, or an empty dictionary."""
        return read_json(self.endpoints_path)


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file, empty when the file is missing or broken."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a JSON file as a whole, mode 0600: readers see the old one or the new one."""
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(value, file, indent=2)
        file.write("\n")
    draft.replace(path)
