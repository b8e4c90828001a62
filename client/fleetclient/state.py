"""The state folder of one car: where everything is, and that only one agent uses it."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import Any, ClassVar

from fleetclient.errors import ClientError
from fleetclient.files import write_loosely


class AlreadyRunning(ClientError):
    """Another agent is using this state folder."""

    code: ClassVar[str] = "already_running"


class StateFolder:
    """Paths below `state_dir`: `identity/ cache/ inputs/ outputs/ journal.sqlite history.sqlite usage.json
    control.json control.sock server-rules.json last-sync.json status.json agent.lock`.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self.identity = folder / "identity"
        self.cache = folder / "cache"
        self.journal = folder / "journal.sqlite"
        self.history = folder / "history.sqlite"
        self.usage = folder / "usage.json"
        self.server_rules = folder / "server-rules.json"
        self.last_sync = folder / "last-sync.json"
        self._status = folder / "status.json"

    def lock(self) -> None:
        """Hold this folder until the process ends; raises AlreadyRunning."""
        file = (self.folder / "agent.lock").open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise AlreadyRunning(f"another agent is using {self.folder}; stop it first") from None
        self._lock = file

    def is_in_use(self) -> bool:
        """Return True while an agent holds this folder, whatever it is doing."""
        try:
            with (self.folder / "agent.lock").open("r") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            return False
        return False

    def write_status(self, status: dict[str, Any]) -> None:
        """Store what `status` shows; not forced to disk, since it is only a view."""
        write_loosely(self._status, json.dumps(status).encode())

    def read_status(self) -> dict[str, Any]:
        """Return what the agent last stored, or nothing."""
        try:
            document = json.loads(self._status.read_bytes())
        except (OSError, ValueError):
            return {}
        return document if isinstance(document, dict) else {}
