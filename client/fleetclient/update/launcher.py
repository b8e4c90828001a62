"""Starts the right version of the client, and takes a new one back that does not prove itself.

Small and stable on purpose: it is of the version that was installed by hand, and outlives every update. A version
that has proved itself replaces this process (exec), so that an idle car pays nothing for it. Only while a version is
on trial does the launcher stay, as its parent: it waits for the word that it is healthy, and takes it back after ten
minutes without, or after three starts. All it knows is in the files of `VersionFolder`; it may be killed at any point.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NoReturn

from fleetclient import __version__
from fleetclient.failpoints import fail_point
from fleetclient.update.folder import INSTALLED, UpdateState, VersionFolder, installed_is_newer

HEALTH_SECONDS: Final = 600.0
STARTS_MAX: Final = 3
STOP_SECONDS: Final = 15.0
LOOK_SECONDS: Final = 0.5
RETRY_SECONDS: Final = 5.0
# An agent that ends with this status asks to be started again, in whatever version is current then.
EXIT_RESTART: Final = 75
EXIT_OK, EXIT_REVOKED = 0, 3
SUPERVISED: Final = "FLEETCLIENT_SUPERVISED"
INSTALLED_PATH: Final = "FLEETCLIENT_INSTALLED_PYTHONPATH"
RUNNING_VERSION: Final = "FLEETCLIENT_RUNNING_VERSION"
_FORWARDED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
_ENDING: Final = (signal.SIGTERM, signal.SIGINT)
_PR_SET_PDEATHSIG: Final = 1


class Launcher:
    """One start of one command. `state_dir` is that of the car; `arguments` are those of the client."""

    def __init__(
        self,
        *,
        state_dir: Path,
        arguments: Sequence[str],
        installed_version: str = __version__,
        health_seconds: float = HEALTH_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._folder = VersionFolder(state_dir)
        self._arguments = list(arguments)
        self._installed_version = installed_version
        self._health_seconds = health_seconds
        self._retry_seconds = retry_seconds

    def run(self) -> int:
        """Run the agent; return the exit status of one that was on trial. One that is not never returns."""
        while True:
            state = self._settle()
            if not state.is_on_trial:
                self.replace_process(state.current)
            status = self._try_version(state.current)
            if status is not None:
                return status

    def replace_process(self, version: str) -> NoReturn:
        """Become the client of a version."""
        environment = self._environment(version)
        sys.stdout.flush()
        os.execve(sys.executable, self._command(), environment)  # noqa: S606 - our own interpreter and arguments

    def choose(self) -> str:
        """Return the version that any other command should run in; changes nothing."""
        state = self._folder.read()
        if installed_is_newer(self._installed_version, state.current) or not self._folder.is_complete(state.current):
            return INSTALLED
        return state.current

    def _settle(self) -> UpdateState:
        """Return what to start, after what the files say has been acted on."""
        state = self._folder.read()
        if installed_is_newer(self._installed_version, state.current):
            return state if state.current == INSTALLED and not state.is_on_trial else self._folder.forget_current()
        if not self._folder.is_complete(state.current):
            self._take_back(state.current, "its files are not there")
            return self._settle()  # the version before may by now be older than the installed one
        return self._settle_trial(state) if state.is_on_trial else state

    def _settle_trial(self, state: UpdateState) -> UpdateState:
        if self._folder.is_healthy(state.current):
            self._folder.keep(state.current)
            return self._folder.read()
        if state.starts >= STARTS_MAX:
            self._take_back(state.current, f"it was started {STARTS_MAX} times and never became healthy")
            return self._settle()
        return state

    def _try_version(self, version: str) -> int | None:
        """Start a version on trial and wait; return the status to end with, or None to settle and start again."""
        self._folder.note_start()
        fail_point("update_start_counted")
        signal.pthread_sigmask(signal.SIG_BLOCK, {*_FORWARDED, signal.SIGCHLD})
        pid = self._spawn(version)
        try:
            return self._watch(version, pid)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {*_FORWARDED, signal.SIGCHLD})

    def _watch(self, version: str, pid: int) -> int | None:
        give_up_at = time.monotonic() + self._health_seconds
        is_trusted = is_stopping = False
        while True:
            ended = _collect(pid)
            if not is_trusted and self._folder.is_healthy(version):
                self._folder.keep(version)
                is_trusted = True
            if ended is not None:
                return self._judge_end(ended, is_trusted=is_trusted, is_stopping=is_stopping)
            if not is_trusted and time.monotonic() > give_up_at:
                _end(pid)
                self._take_back(version, f"it did not become healthy within {self._health_seconds:.0f} s")
                return None
            heard = signal.sigtimedwait({*_FORWARDED, signal.SIGCHLD}, LOOK_SECONDS if not is_trusted else 3600.0)
            if heard is not None and heard.si_signo in _FORWARDED:
                is_stopping |= heard.si_signo in _ENDING
                os.kill(pid, heard.si_signo)

    def _judge_end(self, status: int, *, is_trusted: bool, is_stopping: bool) -> int | None:
        if status == EXIT_RESTART:
            return None
        if is_trusted:
            return status
        if is_stopping or status in (EXIT_OK, EXIT_REVOKED):
            self._folder.uncount_start()
            return status
        _say(f"the version on trial ended with {status} before it was healthy")
        time.sleep(self._retry_seconds)
        return None

    def _take_back(self, version: str, reason: str) -> None:
        changed = self._folder.take_back(reason)
        fail_point("update_taken_back")
        _say(f"version {version} was taken back: {reason}; running {changed.current or self._installed_version}")

    def _spawn(self, version: str) -> int:
        environment = self._environment(version) | {SUPERVISED: str(os.getpid())}
        command, parent = self._command(), os.getpid()
        sys.stdout.flush()
        pid = os.fork()
        if pid:
            return pid
        try:
            _die_with(parent)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {*_FORWARDED, signal.SIGCHLD})
            os.execve(sys.executable, command, environment)  # noqa: S606 - our own interpreter and arguments
        finally:
            os._exit(EXIT_RESTART - 1)  # only when exec has failed

    def _command(self) -> list[str]:
        # -P: the folder where the owner happened to start this may be one in which others put files.
        return [sys.executable, "-P", "-m", "fleetclient", *self._arguments]

    def _environment(self, version: str) -> dict[str, str]:
        environment = dict(os.environ)
        installed_path = environment.get("PYTHONPATH", "")
        environment[INSTALLED_PATH] = installed_path
        environment[RUNNING_VERSION] = version
        environment.pop(SUPERVISED, None)
        if version != INSTALLED:
            # Safe path: a folder `fleetclient` where the agent happens to be started must not come first.
            environment["PYTHONSAFEPATH"] = "1"
            own_path = str(self._folder.path(version))
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, (own_path, installed_path)))
        return environment


def restart(arguments: Sequence[str]) -> NoReturn:
    """Let the launcher start the client again: the agent calls this after `switch_to`, with its own arguments."""
    sys.stdout.flush()
    sys.stderr.flush()
    if os.environ.get(SUPERVISED) == str(os.getppid()):
        os._exit(EXIT_RESTART)
    environment = dict(os.environ)
    if INSTALLED_PATH in environment:
        environment["PYTHONPATH"] = environment.pop(INSTALLED_PATH)
    if environment.get("PYTHONPATH") == "":
        del environment["PYTHONPATH"]
    command = [sys.executable, "-P", "-m", "fleetclient.launch", *arguments]
    os.execve(sys.executable, command, environment)  # noqa: S606 - our own interpreter and arguments


def _collect(pid: int) -> int | None:
    """Return the exit status of a child that has ended, as a shell would give it; None while it runs."""
    found, status = os.waitpid(pid, os.WNOHANG)
    if not found:
        return None
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _end(pid: int) -> None:
    os.kill(pid, signal.SIGTERM)
    give_up_at = time.monotonic() + STOP_SECONDS
    while _collect(pid) is None:
        if time.monotonic() > give_up_at:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return
        signal.sigtimedwait({signal.SIGCHLD}, LOOK_SECONDS)


def _die_with(parent: int) -> None:
    """Make this process end when its launcher does: two agents must never share a state folder."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(EXIT_OK)


def _say(text: str) -> None:
    sys.stderr.write(f"fleetclient: {text}\n")
    sys.stderr.flush()
