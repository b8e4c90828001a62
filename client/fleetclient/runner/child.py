"""The runner process: reads its settings, gives up what it can, loads the model, then runs jobs until its pipe ends.

It hears jobs on standard input and answers on a copy of standard output; whatever a library prints goes to standard
error. It decides nothing: a failure is reported with a reason, and the agent hands the unit back.
"""

from __future__ import annotations

import errno
import os
import time
from typing import Any

from fleetclient.runner import confinement
from fleetclient.runner.jobs import (
    Job,
    RunnerEvent,
    RunnerFailed,
    RunnerReady,
    RunnerSettings,
    UnitDone,
    UnitFailed,
    UnitProgress,
    UnitStarted,
    event_message,
)
from fleetclient.runner.pipes import MessageReader, encode_message

DETAIL_CHARS = 300
PIPE_READ_BYTES = 64 * 1024
# onnxruntime reports a refused allocation as an ordinary error; only its text tells.
_MEMORY_WORDS = ("bad_alloc", "failed to allocate", "cannot allocate", "out of memory", "std::length_error")

_ERRNO_REASONS = {errno.ENOSPC: "disk_full", errno.EDQUOT: "disk_full", errno.EFBIG: "output_too_large"}


class Pipe:
    """The child's end: blocking reads of messages, writes of events."""

    def __init__(self) -> None:
        self._in = os.dup(0)
        self._out = os.dup(1)
        os.dup2(2, 1)
        self._reader = MessageReader()
        self._waiting: list[dict[str, Any]] = []

    def receive(self) -> dict[str, Any] | None:
        """Return the next message, or None when the agent closed the pipe."""
        while not self._waiting:
            piece = os.read(self._in, PIPE_READ_BYTES)
            if not piece:
                return None
            self._waiting = self._reader.feed(piece)
        return self._waiting.pop(0)

    def send(self, event: RunnerEvent) -> None:
        """Tell the agent."""
        os.write(self._out, encode_message(event_message(event)))


def main() -> None:
    """Run until the agent closes the pipe."""
    pipe = Pipe()
    first = pipe.receive()
    if first is None:
        return
    agent_pid = first.pop("agent_pid")
    settings = RunnerSettings.from_message(first)
    holds = {"network_denied": confinement.leave_network(), **confinement.step_back(agent_pid)}
    worker = _load(settings, pipe, holds)
    while worker is not None and (message := pipe.receive()) is not None:
        worker.run(Job.from_message(message))


def _load(settings: RunnerSettings, pipe: Pipe, holds: dict[str, bool]) -> Worker | None:
    began = time.monotonic()
    # Imported here: only after the network is gone, and before memory is limited.
    from fleetclient.runner import compute

    contract = settings.contract
    confinement.limit_resources(contract.limits, memory_bytes=settings.memory_bytes)
    confinement.allow_cpu_seconds(contract.limits.seconds, threads=contract.session.intra_op_threads)
    try:
        session = compute.open_session(settings.model_path, contract)
    except Exception as error:  # noqa: BLE001 - the edge of this process; what the runtime raises is the model's fault
        pipe.send(RunnerFailed(reason=_reason(error, "model_load_failed"), detail=_detail(error)))
        return None
    pipe.send(RunnerReady(load_seconds=time.monotonic() - began, confinement=holds))
    return Worker(settings, session, pipe)


class Worker:
    """One loaded model."""

    def __init__(self, settings: RunnerSettings, session: Any, pipe: Pipe) -> None:
        self._settings = settings
        self._session = session
        self._pipe = pipe

    def run(self, job: Job) -> None:
        """Run one unit and report it done or failed."""
        limits, session = self._settings.contract.limits, self._settings.contract.session
        confinement.allow_cpu_seconds(limits.seconds, threads=session.intra_op_threads)
        self._pipe.send(UnitStarted(token=job.token))
        try:
            done = self._compute(job)
        except Exception as error:  # noqa: BLE001 - the edge of this process; the agent hears a reason and decides
            self._pipe.send(UnitFailed(token=job.token, reason=_reason(error, "run_failed"), detail=_detail(error)))
        else:
            self._pipe.send(done)

    def _compute(self, job: Job) -> UnitDone:
        from fleetclient.runner import compute, simulation
        from fleetclient.wire import output_digest

        settings = self._settings
        began = mark = time.process_time()

        def block_done(rows_done: int) -> None:
            nonlocal mark
            simulation.sleep_to_speed(time.process_time() - mark, settings.speed)
            self._pipe.send(UnitProgress(token=job.token, rows_done=rows_done))
            mark = time.process_time()

        inputs = compute.load_inputs(job.input_path, settings.contract, job.rows)
        outputs = compute.run_blocks(self._session, settings.contract, inputs, job.rows, block_done)
        if settings.fault != "none":
            outputs = simulation.falsify(outputs, settings, job)
        document = compute.encode_output(outputs, settings.contract)
        compute.write_output(job.output_path, document)
        return UnitDone(
            token=job.token,
            digest=output_digest(job.salt, document),
            output_bytes=len(document),
            cpu_seconds=time.process_time() - began,
        )


def _reason(error: Exception, otherwise: str) -> str:
    name, words = type(error).__name__, str(error).lower()
    if isinstance(error, MemoryError) or any(word in words for word in _MEMORY_WORDS):
        return "out_of_memory"
    if name == "OutputTooLarge":
        return "output_too_large"
    if isinstance(error, OSError):
        return _ERRNO_REASONS.get(error.errno or 0, otherwise)
    return otherwise


def _detail(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:DETAIL_CHARS]


if __name__ == "__main__":
    main()
