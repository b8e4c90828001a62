"""Child processes that cannot outlive their purpose.

Each child leads a process group of its own, so that a terminal's Ctrl-C reaches only the supervisor (which ends
them in order) and so that its descendants can be ended with it. On Linux the kernel signals it when the supervisor
dies. Ids and start times are written down, so that the next run finds what an earlier one left behind.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from fleetcompute.embedded.errors import EmbeddedError
from fleetcompute.embedded.home import PROJECT_ROOT
from fleetcompute.embedded.identity import Identity

PR_SET_PDEATHSIG = 1
LOG_BYTES_MAX = 16 * 1024 * 1024
KILLED_WAIT_SECONDS = 5.0
START_TIME_SLACK_SECONDS = 1.0


class Child:
    """One running program; `name` is what people read, `stop_signal` what asks it to end."""

    def __init__(
        self, name: str, process: subprocess.Popen[bytes], *, stop_signal: signal.Signals, log_path: Path
    ) -> None:
        self.name = name
        self.process = process
        self.stop_signal = stop_signal
        self.log_path = log_path
        self.started_at = time.monotonic()

    @property
    def pid(self) -> int:
        """Id of the process, which is also that of its group."""
        return self.process.pid

    def is_running(self) -> bool:
        """Tell whether the program still runs."""
        return self.process.poll() is None

    def stop(self, *, grace_seconds: float) -> None:
        """Ask the program to end, wait, then kill what is left of its process group. Safe to repeat."""
        if self.is_running():
            self.process.send_signal(self.stop_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(grace_seconds)
        kill_group(self.pid)
        self.process.wait()


def spawn(
    name: str,
    argv: Sequence[str],
    *,
    log_path: Path,
    env: Mapping[str, str],
    stop_signal: signal.Signals = signal.SIGTERM,
    death_signal: signal.Signals | None = None,
    identity: Identity | None = None,
) -> Child:
    """Start a program with its output appended to `log_path`.

    `death_signal` is what the kernel sends it when the thread that calls this ends (`stop_signal` by default), so
    call it from a thread that lives as long as the child should.
    """
    if log_path.exists() and log_path.stat().st_size > LOG_BYTES_MAX:
        log_path.replace(log_path.with_suffix(".log.1"))
    options: dict[str, Any] = identity.popen_options if identity else {}
    try:
        with log_path.open("ab") as log:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/" if identity else PROJECT_ROOT,
                env=dict(env),
                start_new_session=True,
                preexec_fn=tie_to_parent(death_signal or stop_signal),  # noqa: PLW1509  # see its docstring
                **options,
            )
    except (OSError, subprocess.SubprocessError) as error:
        raise EmbeddedError(f"{name} cannot be started: {error}; its log is {log_path}.") from None
    return Child(name, process, stop_signal=stop_signal, log_path=log_path)


def describe(pid: int, *, stop_signal: signal.Signals = signal.SIGTERM) -> dict[str, float]:
    """Return what identifies a process beyond its reusable id, and how to ask it to end."""
    try:
        started = psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        started = 0.0
    return {"pid": pid, "started": started, "signal": int(stop_signal)}


def is_same_process(pid: int, started: float) -> bool:
    """Tell whether `pid` still is the process that was described with this start time (seconds since the epoch)."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) < START_TIME_SLACK_SECONDS
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end_processes(described: Iterable[Mapping[str, float]], *, grace_seconds: float) -> int:
    """End processes of an earlier run and their groups; return how many were found.

    Takes what `describe` returned. A number that now belongs to another program is left alone.
    """
    found = [entry for entry in described if is_same_process(int(entry["pid"]), entry["started"])]
    for entry in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(entry["pid"]), int(entry["signal"]))
            os.kill(int(entry["pid"]), signal.SIGCONT)  # a stopped program could not act on it
    wait_until(
        lambda: not any(is_same_process(int(entry["pid"]), entry["started"]) for entry in found),
        seconds=grace_seconds,
    )
    for entry in found:
        kill_group(int(entry["pid"]))
    return len(found)


def kill_group(group_id: int) -> None:
    """Kill every process of a group and wait until none is left (zombies count as gone)."""
    try:
        os.killpg(group_id, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
        return
    wait_until(lambda: not _living_members(group_id), seconds=KILLED_WAIT_SECONDS)


def wait_until(condition: Callable[[], bool], *, seconds: float, every_seconds: float = 0.02) -> bool:
    """Return True as soon as `condition` holds, or False after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(every_seconds)
    return True


def _living_members(group_id: int) -> list[int]:
    members = []
    for process in psutil.process_iter(["pid", "status"]):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getpgid(process.pid) == group_id and process.info["status"] != psutil.STATUS_ZOMBIE:
                members.append(process.pid)
    return members


def tie_to_parent(death_signal: signal.Signals) -> Callable[[], None] | None:
    """Return a function for the forked child that asks Linux for `death_signal` when its parent dies.

    Run between fork and exec, and after the change of user, which would clear the request. It makes one C call
    through a library that is loaded here, so it takes no lock that another thread may hold.
    """
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def tie() -> None:
        libc.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:  # it died before the request was made
            os._exit(1)

    return tie
