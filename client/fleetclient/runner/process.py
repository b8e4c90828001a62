"""The agent's handle on a runner process: start, give jobs, hear events, stop, go on, kill.

The runner opens nothing, so this side opens model, inputs and outputs and passes them over the socket. The runner is in
its own process group, so that one signal reaches all of it, and dies with the agent.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import fleetclient
from fleetclient.files import rename_durably
from fleetclient.runner import cgroup
from fleetclient.runner.bounds import Bounds
from fleetclient.runner.checkpoints import part_path
from fleetclient.runner.jobs import (
    Job,
    RunnerEvent,
    RunnerExited,
    RunnerReady,
    RunnerSettings,
    UnitDone,
    UnitFailed,
    UnitStarted,
    read_event,
)
from fleetclient.runner.pipes import MessageReader, PipeBroken, send_message

READ_BYTES = 64 * 1024
# A runner that floods its channel must not keep the agent from looking at the car.
READS_A_POLL_MAX = 16
LAST_WORDS_BYTES = 400
EXIT_SECONDS = 0.5


class Runner:
    """One runner process with one model. Not safe for several threads.

    It must be started by the main thread: the kernel kills it when the *thread* that started it ends.
    """

    def __init__(self, settings: RunnerSettings, *, folder: Path) -> None:
        self._stderr_path = folder / "runner.stderr"
        empty = folder / "empty"
        empty.mkdir(mode=0o700, exist_ok=True)
        self._channel, theirs = socket.socketpair()
        with theirs, self._stderr_path.open("wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "fleetclient.runner.child"],
                stdin=theirs.fileno(),
                stdout=stderr,
                stderr=stderr,
                cwd=empty,
                env=child_environment(),
                process_group=0,
            )
        self._reader = MessageReader()
        self._jobs: dict[str, Job] = {}
        self._started: set[str] = set()
        self._is_ready = False
        self._exited = False
        self.settings = settings
        self.is_stopped = False
        self._bounds = Bounds.of(settings.contract, memory_bytes=settings.memory_bytes)
        self._group = cgroup.enclose(self.pid, self._bounds.memory_bytes) if settings.sandbox.use_cgroup else None
        self._send_settings()

    @property
    def pid(self) -> int:
        """The process id, which is also the process group."""
        return int(self._process.pid)

    def fileno(self) -> int:
        """Return the socket to wait on for events."""
        return self._channel.fileno()

    def submit(self, job: Job) -> None:
        """Queue a job in the socket; the caller keeps the queue short. A file that cannot be opened fails the unit."""
        self._jobs[job.token] = job
        self._started.discard(job.token)
        with ExitStack() as opened:
            try:
                files = [_open(path, flags, opened) for path, flags in _files_of(job)]
                self._send(job.to_message(), files)
            except OSError as error:
                reason = "disk_full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "run_failed"
                self._send(job.to_message() | {"refused": {"reason": reason, "detail": str(error)[:300]}})

    def cancel(self, token: str) -> None:
        """Have a unit that was submitted end as failed at its next batch, or before it begins."""
        self._send({"cancel": token})

    def poll(self) -> list[RunnerEvent]:
        """Return what was heard since the last call, without waiting; ends with RunnerExited once."""
        events: list[RunnerEvent] = []
        for _ in range(READS_A_POLL_MAX):
            if self._exited:
                break
            try:
                piece = self._channel.recv(READ_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except ConnectionResetError:
                piece = b""
            if not piece:
                events.append(self._reap())
                break
            try:
                events += [self._hear(read_event(message)) for message in self._reader.feed(piece)]
            except (PipeBroken, KeyError, TypeError, ValueError):
                self._signal(signal.SIGKILL)
                events.append(self._reap())
        return events

    def stop(self) -> None:
        """Freeze it where it is: no processor time from the next moment on, memory kept."""
        self._signal(signal.SIGSTOP)
        self.is_stopped = True

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)
        self.is_stopped = False

    def kill(self) -> None:
        """End it now and wait until it is gone; nothing it still says is heard. Partial outputs stay."""
        self._signal(signal.SIGKILL)
        self._reap()

    def _hear(self, event: RunnerEvent) -> RunnerEvent:
        """Act on an event; raises ValueError for one that would set a limit on time back once more."""
        match event:
            case RunnerReady():
                if self._is_ready:
                    raise ValueError("it was ready before")
                self._is_ready = True
                return RunnerReady(
                    load_seconds=event.load_seconds,
                    confinement=event.confinement | {"cgroup": self._group is not None and self._group.has_limits},
                )
            case UnitStarted():
                if event.token in self._started or event.token not in self._jobs:
                    raise ValueError("it has no such unit to start")
                self._started.add(event.token)
                self._allow_cpu_seconds()
                if not self._jobs[event.token].input_path.exists():
                    self.cancel(event.token)  # the unit was dropped while it waited
            case UnitDone() if event.token in self._jobs:
                return _finish(self._jobs.pop(event.token), event)
            case UnitFailed():
                self._jobs.pop(event.token, None)
        return event

    def _allow_cpu_seconds(self) -> None:
        """Move the limit on processor time, after which the kernel ends the runner, one unit further.

        The agent's wall clock limit comes first; this one holds when the agent itself is hung.
        """
        with suppress(ProcessLookupError):  # its end will be heard
            _, hard = resource.prlimit(self.pid, resource.RLIMIT_CPU)
            upto = int(_cpu_seconds(self.pid)) + self._bounds.cpu_seconds
            resource.prlimit(self.pid, resource.RLIMIT_CPU, (upto if hard < 0 else min(upto, hard), hard))

    def _send_settings(self) -> None:
        message = self.settings.to_message() | {"agent_pid": os.getpid()}
        try:
            with self.settings.model_path.open("rb") as model:
                self._send(message, [model.fileno()])
        except OSError:
            self._send(message)  # without the file the runner reports a model that cannot be loaded

    def _reap(self) -> RunnerExited:
        self._exited = True
        try:
            self._process.wait(timeout=EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            # It closed its socket and lives on: it has no other purpose left.
            self._signal(signal.SIGKILL)
        returncode = self._process.wait()
        self._channel.close()
        if self._group is not None:
            self._group.remove()
        for job in self._jobs.values():
            _output_in_work(job).unlink(missing_ok=True)
        return RunnerExited(returncode=returncode, last_words=self._last_words())

    def _signal(self, number: signal.Signals) -> None:
        # Only an unreaped process id is still ours.
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _send(self, message: dict[str, Any], files: list[int] | None = None) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # its exit will be heard by poll()
            send_message(self._channel, message, files or ())

    def _last_words(self) -> str:
        with self._stderr_path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - LAST_WORDS_BYTES))
            return file.read().decode("utf-8", "replace").strip()


def _files_of(job: Job) -> tuple[tuple[Path, int], ...]:
    return (
        (job.input_path, os.O_RDONLY),
        (part_path(job.output_path), os.O_RDWR | os.O_CREAT),
        (_output_in_work(job), os.O_RDWR | os.O_CREAT | os.O_TRUNC),
    )


def _output_in_work(job: Job) -> Path:
    return job.output_path.with_suffix(".tmp")


def _open(path: Path, flags: int, opened: ExitStack) -> int:
    descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    opened.callback(os.close, descriptor)
    return descriptor


def _finish(job: Job, done: UnitDone) -> RunnerEvent:
    """Give the output its name. The runner has forced it to disk, and said how large it is."""
    made = _output_in_work(job)
    try:
        if made.stat().st_size != done.output_bytes:
            return UnitFailed(token=job.token, reason="run_failed", detail="the output is not as long as was said")
        rename_durably(made, job.output_path)
        part_path(job.output_path).unlink(missing_ok=True)
    except OSError as error:
        return UnitFailed(token=job.token, reason="run_failed", detail=f"the output cannot be kept: {error}"[:300])
    return done


def _cpu_seconds(pid: int) -> float:
    # By the process's clock: where a service hides other processes (ProtectProc=), /proc has no untraceable one either.
    return time.clock_gettime(~pid << 3 | _CPUCLOCK_SCHED)


_CPUCLOCK_SCHED = 2


def child_environment() -> dict[str, str]:
    """Return the whole environment of a runner: nothing of the agent's own but where Python finds modules."""
    package_root = str(Path(fleetclient.__file__).parent.parent)
    inherited = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV") if name in os.environ}
    return inherited | {
        "PYTHONPATH": os.pathsep.join(filter(None, (package_root, os.environ.get("PYTHONPATH", "")))),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LANG": "C.UTF-8",
        # One malloc arena: each reserves 64 MiB of address space, which RLIMIT_AS counts.
        "MALLOC_ARENA_MAX": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        # The runtime must not start a thread that reports its use to its maker.
        "ORT_DISABLE_TELEMETRY": "1",
    }
