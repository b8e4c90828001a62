"""The agent's handle on a runner process: start, give jobs, hear events, stop, go on, kill.

The runner is in its own process group, so that one signal reaches all of it, and dies with the agent.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, cast

import fleetclient
from fleetclient.runner.jobs import Job, RunnerEvent, RunnerExited, RunnerSettings, read_event
from fleetclient.runner.pipes import MessageReader, PipeBroken, encode_message

READ_BYTES = 64 * 1024
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
        with self._stderr_path.open("wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "fleetclient.runner.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=empty,
                env=_environment(),
                process_group=0,
                bufsize=0,
            )
        self._stdin, self._stdout = cast("IO[bytes]", self._process.stdin), cast("IO[bytes]", self._process.stdout)
        os.set_blocking(self._stdout.fileno(), False)
        self._reader = MessageReader()
        self._exited = False
        self.settings = settings
        self.is_stopped = False
        self._write(settings.to_message() | {"agent_pid": os.getpid()})

    @property
    def pid(self) -> int:
        """The process id, which is also the process group."""
        return self._process.pid

    def fileno(self) -> int:
        """Return the pipe to wait on for events."""
        return self._stdout.fileno()

    def submit(self, job: Job) -> None:
        """Queue a job in the pipe; the caller keeps the queue short."""
        self._write(job.to_message())

    def poll(self) -> list[RunnerEvent]:
        """Return what was heard since the last call, without waiting; ends with RunnerExited once."""
        events: list[RunnerEvent] = []
        while not self._exited:
            try:
                piece = os.read(self._stdout.fileno(), READ_BYTES)
            except BlockingIOError:
                break
            if not piece:
                events.append(self._reap())
                break
            try:
                events += [read_event(message) for message in self._reader.feed(piece)]
            except (PipeBroken, KeyError, TypeError):
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
        """End it now and wait until it is gone; nothing it still says is heard."""
        self._signal(signal.SIGKILL)
        self._reap()

    def _reap(self) -> RunnerExited:
        self._exited = True
        try:
            self._process.wait(timeout=EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            # It closed its pipe and lives on: it has no other purpose left.
            self._signal(signal.SIGKILL)
        returncode = self._process.wait()
        for pipe in (self._stdin, self._stdout):
            with suppress(OSError):
                pipe.close()
        return RunnerExited(returncode=returncode, last_words=self._last_words())

    def _signal(self, number: signal.Signals) -> None:
        # Only an unreaped process id is still ours.
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _write(self, message: dict[str, object]) -> None:
        with suppress(BrokenPipeError):  # its exit will be heard by poll()
            self._stdin.write(encode_message(message))

    def _last_words(self) -> str:
        with self._stderr_path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - LAST_WORDS_BYTES))
            return file.read().decode("utf-8", "replace").strip()


def _environment() -> dict[str, str]:
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
    }
