"""The agent's side of updates: look, fetch and unpack in the background, switch when the car is idle.

`prepare` takes seconds to minutes and belongs on a background thread; `why_waiting` and `status` only read; after
`switch` the agent shuts down as for SIGTERM, keeping its work, and calls `launcher.restart`.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol

from fleetclient import __version__
from fleetclient.errors import ClientError
from fleetclient.failpoints import fail_point
from fleetclient.update.channels import Choice, Offer, choose
from fleetclient.update.folder import INSTALLED, VersionFolder
from fleetclient.update.options import UpdateOptions

UNPACK_SECONDS: Final = 120.0
HOUR_SECONDS: Final = 3600.0


class UpdateFailed(ClientError):
    """A release could not be fetched or unpacked this time; the next look tries again."""

    code: ClassVar[str] = "update_failed"
    retryable: ClassVar[bool] = True


class UpdateRefused(UpdateFailed):
    """A release that was signed is not fit for this car; it needs the owner, or another release."""

    code: ClassVar[str] = "update_refused"
    retryable: ClassVar[bool] = False


class Releases(Protocol):
    """What updates need of the trust gate."""

    @property
    def channels(self) -> Mapping[str, Offer]:
        """The signed channels of the last look at the repository."""
        ...

    def download(self, target: str) -> Path:
        """Fetch a signed release, checked against its signed hash and length."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class UpdateStatus:
    """What `status` shows. `waiting` is the version that is offered, `reason` why it does not run yet."""

    running: str
    channel: str
    enabled: bool
    waiting: str
    is_ready: bool
    reason: str
    is_on_trial: bool
    taken_back: dict[str, str]
    error: str


class Updater:
    """Updates of one car. One thread at a time may call `prepare`; everything else is for the agent's thread."""

    def __init__(
        self,
        *,
        options: UpdateOptions,
        state_dir: Path,
        vehicle_id: str,
        releases: Releases,
        running: str = __version__,
    ) -> None:
        self._options = options
        self._folder = VersionFolder(state_dir)
        self._vehicle_id = vehicle_id
        self._releases = releases
        self._running = running
        self._checked_at = float("-inf")
        self._ready = ""
        self._refused: dict[str, str] = {}
        self._error = ""

    def is_due(self, now: float) -> bool:
        """Return whether it is time to `prepare`, on the boot clock."""
        return self._options.enabled and now - self._checked_at >= self._options.check_hours * HOUR_SECONDS

    def check(self) -> Choice:
        """Return what this car should install, by what the trust gate last read. Changes nothing."""
        return choose(
            self._releases.channels,
            options=self._options,
            state=self._folder.read(),
            running=self._running,
            vehicle_id=self._vehicle_id,
        )

    def prepare(self, now: float) -> str:
        """Fetch and unpack the release that `check` names; return its version, empty when there is none.

        Raises UpdateFailed, UpdateRefused and what the trust gate raises. Nothing that runs is touched.
        """
        self._checked_at = now
        choice = self.check()
        if not choice.is_wanted or choice.version == self._ready or choice.version in self._refused:
            return self._ready if choice.is_wanted else ""
        try:
            self._unpack(self._releases.download(choice.target), choice.version)
        except UpdateRefused as refusal:
            self._refused[choice.version] = str(refusal)
            raise
        except ClientError as error:
            self._error = str(error)
            raise
        self._ready, self._error = choice.version, ""
        return self._ready

    def why_waiting(self, *, is_working: bool, is_plugged_in: bool | None) -> str:
        """Return why the prepared release is not installed now, empty when `switch` may be called.

        Never while a unit is being computed, whatever the release mends.
        """
        choice = self.check()
        return choice.reason or self._why_unready(choice.version) or self._why_busy(choice, is_working, is_plugged_in)

    def switch(self) -> str:
        """Make the prepared release current, on trial, and return its version; the caller restarts the agent."""
        version = self._ready
        self._drop_others(version)
        fail_point("update_before_switch")
        self._folder.switch_to(version)
        fail_point("update_switched")
        return version

    def status(self, *, is_working: bool = False, is_plugged_in: bool | None = None) -> UpdateStatus:
        """Return what is waiting, and why."""
        state, choice = self._folder.read(), self.check()
        return UpdateStatus(
            running=self._running,
            channel=self._options.channel,
            enabled=self._options.enabled,
            waiting=choice.version if choice.version != self._running else "",
            is_ready=bool(self._ready) and choice.version == self._ready,
            reason=self.why_waiting(is_working=is_working, is_plugged_in=is_plugged_in),
            is_on_trial=state.is_on_trial,
            taken_back=dict(state.bad),
            error=self._error,
        )

    def _why_unready(self, version: str) -> str:
        if version in self._refused:
            return self._refused[version]
        if version != self._ready:
            return self._error or f"version {version} has not been fetched yet"
        return ""

    def _why_busy(self, choice: Choice, is_working: bool, is_plugged_in: bool | None) -> str:  # noqa: FBT001
        if self._folder.read().is_on_trial:
            return f"version {self._running} has yet to prove itself"
        if is_working:
            return f"version {choice.version} waits until no unit is being computed"
        if self._options.needs_plug and not choice.is_security and not is_plugged_in:
            return f"version {choice.version} waits until the car is plugged in"
        return ""

    def _unpack(self, wheel: Path, version: str) -> None:
        self._folder.versions.mkdir(mode=0o700, parents=True, exist_ok=True)
        command = [
            sys.executable,
            "-P",
            "-m",
            "fleetclient.update.wheel",
            str(wheel),
            str(self._folder.versions),
            version,
        ]
        try:
            done = subprocess.run(command, capture_output=True, check=False, timeout=UNPACK_SECONDS)
            answer: dict[str, Any] = json.loads(done.stdout)
        except (subprocess.TimeoutExpired, ValueError) as error:
            raise UpdateFailed(f"version {version} could not be unpacked: {error}") from None
        if answer["refused"]:
            kind = UpdateRefused if answer["is_final"] else UpdateFailed
            raise kind(f"version {version} cannot be installed: {answer['refused']}")

    def _drop_others(self, version: str) -> None:
        """Delete all but the one that comes and the one that runs, which is then the one to go back to."""
        state = self._folder.read()
        kept = {version, state.current} - {INSTALLED}
        for folder in self._folder.versions.iterdir():
            if folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)
