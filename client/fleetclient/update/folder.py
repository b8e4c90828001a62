"""The versions on this car and which one runs: files that survive a power cut at any moment.

`versions/<version>/` holds an unpacked release, whole or not at all; `state.json` says which one is current, and is
replaced in one step under a lock, for the agent and its launcher both write it. `healthy` is written by the agent.
The version that was installed by hand is the empty one: it has no folder here and is always there to go back to.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from fleetclient.files import write_durably
from fleetclient.update.versions import VersionInvalid, is_newer

FOLDER_NAME: Final = "client"
BAD_MAX: Final = 50
INSTALLED: Final = ""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class UpdateState:
    """What runs and what was learned.

    `current` and `previous` are versions, empty for the installed one. `is_on_trial`: `current` has not reported
    healthy yet; `starts` counts how often it was started since it became current. `highest` is the highest version
    that ever became current here. `bad` are versions that were taken back, with the reason; they are not tried again.
    """

    current: str = INSTALLED
    previous: str = INSTALLED
    is_on_trial: bool = False
    starts: int = 0
    highest: str = ""
    bad: dict[str, str] = dataclasses.field(default_factory=dict)


class VersionFolder:
    """`state_dir/client`. Every change is one `change` under the lock."""

    def __init__(self, state_dir: Path) -> None:
        self.folder = state_dir / FOLDER_NAME
        self.versions = self.folder / "versions"
        self._state = self.folder / "state.json"
        self._healthy = self.folder / "healthy"

    def read(self) -> UpdateState:
        """Return the state; a missing or unreadable file is the state of a car that never had an update."""
        try:
            document: dict[str, Any] = json.loads(self._state.read_bytes())
            return UpdateState(**document)
        except (OSError, ValueError, TypeError):
            return UpdateState()

    @contextmanager
    def locked(self) -> Iterator[UpdateState]:
        """Hold the lock and give the state as it is; `write` belongs inside."""
        self.versions.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self.read()

    def write(self, state: UpdateState) -> None:
        """Replace the state in one step, forced to disk. Call it inside `locked`."""
        write_durably(self._state, json.dumps(dataclasses.asdict(state), indent=1).encode())

    def path(self, version: str) -> Path:
        """Return the folder that goes on Python's path for a version; not for the installed one."""
        return self.versions / version

    def is_complete(self, version: str) -> bool:
        """Return True when a version can be started. The rename that made its folder came after its content."""
        return version == INSTALLED or (self.path(version) / "fleetclient" / "__init__.py").is_file()

    def report_healthy(self, version: str) -> None:
        """Say that a version works; the launcher hears of it."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_durably(self._healthy, version.encode())

    def is_healthy(self, version: str) -> bool:
        """Return True when this version has said so since it became current."""
        try:
            return self._healthy.read_text("utf-8") == version
        except (OSError, UnicodeDecodeError):
            return False

    def forget_health(self) -> None:
        """A version becomes current anew: what was said of it before does not count."""
        self._healthy.unlink(missing_ok=True)
        if self.folder.is_dir():
            _force_folder(self.folder)

    def switch_to(self, version: str) -> None:
        """Make an unpacked version current, on trial. The next start takes it."""
        with self.locked() as state:
            if not self.is_complete(version):
                raise FileNotFoundError(self.path(version))
            # First the old praise goes: a power cut in between leaves the old version current, which needs none.
            self.forget_health()
            highest = version if is_newer(version, state.highest) else state.highest
            good = state.previous if state.is_on_trial else state.current
            self.write(
                dataclasses.replace(state, current=version, previous=good, is_on_trial=True, starts=0, highest=highest)
            )

    def take_back(self, reason: str) -> UpdateState:
        """Go back to the last good version, or to the installed one when that has gone; remember the bad one."""
        with self.locked() as state:
            known_bad = dict(list(state.bad.items())[-BAD_MAX + 1 :])
            bad = {**known_bad, state.current: reason} if state.current else known_bad
            good = state.previous if self.is_complete(state.previous) else INSTALLED
            changed = dataclasses.replace(state, current=good, previous=INSTALLED, is_on_trial=False, starts=0, bad=bad)
            self.write(changed)
            return changed

    def note_start(self) -> UpdateState:
        """Count a start of a version on trial, before it is started."""
        with self.locked() as state:
            changed = dataclasses.replace(state, starts=state.starts + 1)
            self.write(changed)
            return changed

    def uncount_start(self) -> None:
        """The start ended because somebody stopped the agent: that is not the version's fault."""
        with self.locked() as state:
            self.write(dataclasses.replace(state, starts=max(0, state.starts - 1)))

    def keep(self, version: str) -> None:
        """The version on trial has proved itself."""
        with self.locked() as state:
            if state.current == version and state.is_on_trial:
                self.write(dataclasses.replace(state, is_on_trial=False, starts=0))

    def forget_current(self) -> UpdateState:
        """The installed version is newer than the current one: somebody has updated by hand."""
        with self.locked() as state:
            changed = dataclasses.replace(state, current=INSTALLED, previous=INSTALLED, is_on_trial=False, starts=0)
            self.write(changed)
            return changed


def installed_is_newer(installed: str, current: str) -> bool:
    """Return True when the installed version should run instead of `current`."""
    try:
        return current == INSTALLED or not is_newer(current, installed)
    except VersionInvalid:
        return True


def _force_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
