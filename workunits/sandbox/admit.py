"""The server's side of admission: starts the child, bounds it, and turns its report into facts or a refusal.

The child gets an open file, an empty environment, an empty folder and its own process group; the report comes back over
a pipe with a size cap. The child ends with the thread that started it.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

from workunits.domain.errors import FleetError
from workunits.sandbox.report import AdmissionRequest, ModelFacts, Problem

_PROJECT_ROOT = Path(__file__).resolve().parents[2]
_READ_BYTES = 65_536
# Each may use its whole memory allowance; more than these wait for their turn, and not for ever.
ADMISSIONS_AT_ONCE_MAX = 2
TURN_SECONDS_MAX = 60
_turns = threading.BoundedSemaphore(ADMISSIONS_AT_ONCE_MAX)
# `-I` ignores the environment and the working folder; the project is put on the path by hand.
_START = "import sys; sys.path.insert(0, sys.argv.pop()); from workunits.sandbox.child import main; main()"
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "LC_ALL": "C.UTF-8",
    # Official builds of the runtime start a thread at import that reports usage. It would stay outside of the locks,
    # and a process with two threads is refused a user namespace.
    "ORT_DISABLE_TELEMETRY": "1",
}


class ModelRefused(FleetError):
    """The model did not pass admission."""

    code: ClassVar[str] = "model_refused"

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        first = problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(
            f"{first.detail}{more}",
            errors=[{"code": problem.code, "where": problem.where, "detail": problem.detail} for problem in problems],
        )


class AdmissionBusy(FleetError):
    """Other models are being examined; try again in a minute."""

    code: ClassVar[str] = "unavailable"
    retryable: ClassVar[bool] = True


def admit(path: Path, request: AdmissionRequest) -> ModelFacts:
    """Examine the model file at `path` in a limited child process.

    Raises ModelRefused with what is wrong and where; AdmissionBusy when its turn did not come in a minute.
    """
    if path.stat().st_size > request.limits.model_bytes_max:
        raise _refused("model_too_large", f"The file has more than {request.limits.model_bytes_max} bytes.")
    if not _turns.acquire(timeout=TURN_SECONDS_MAX):
        raise AdmissionBusy
    try:
        with tempfile.TemporaryDirectory(prefix="admission-") as folder, path.open("rb") as model:
            code, answer = _run_child(request, model.fileno(), folder)
    finally:
        _turns.release()
    if code == 0 and len(answer) <= request.limits.report_bytes_max:
        return _read_report(answer)
    raise _refused(*_why_it_ended(code, request))


def _run_child(request: AdmissionRequest, model_fd: int, folder: str) -> tuple[int | None, bytes]:
    """Run the child to its end and return its exit code (None after the wall limit) and what it answered."""
    command = [sys.executable, "-I", "-c", _START, request.to_json(), str(os.getpid()), str(_PROJECT_ROOT)]
    child = subprocess.Popen(
        command,
        stdin=model_fd,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env=_ENVIRONMENT,
        start_new_session=True,
    )
    try:
        # The child may write more than the cap; communicate() would hold it all, so the cap is checked while reading.
        answer = _read_capped(child, request)
        return child.wait(timeout=5), answer
    except subprocess.TimeoutExpired:
        return None, b""
    finally:
        _kill_group(child)


def _read_capped(child: subprocess.Popen[bytes], request: AdmissionRequest) -> bytes:
    """Read the report until the child closes it; raises TimeoutExpired after the wall limit or past the size cap."""
    assert child.stdout is not None
    deadline = time.monotonic() + request.limits.seconds
    parts: list[bytes] = []
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while sum(map(len, parts)) <= request.limits.report_bytes_max:
            if not selector.select(timeout=max(0.0, deadline - time.monotonic())):
                raise subprocess.TimeoutExpired(child.args, request.limits.seconds)
            part = os.read(child.stdout.fileno(), _READ_BYTES)
            if not part:
                return b"".join(parts)
            parts.append(part)
    raise subprocess.TimeoutExpired(child.args, request.limits.seconds)


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    """Kill whatever is left of the child's process group, and reap the child."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    if child.stdout is not None:
        child.stdout.close()


def _read_report(answer: bytes) -> ModelFacts:
    try:
        report: dict[str, Any] = json.loads(answer)
        problems = [Problem(**problem) for problem in report["problems"]]
        facts = None if problems else ModelFacts(**report["facts"])
    except (ValueError, KeyError, TypeError):
        raise _refused("examination_failed", "The examination of the model ended without a readable report.") from None
    if facts is None:
        raise ModelRefused(problems)
    return facts


def _why_it_ended(code: int | None, request: AdmissionRequest) -> tuple[str, str]:
    if code in (None, -signal.SIGXCPU):
        return "out_of_time", f"Checking, loading and running the model took more than {request.limits.seconds} s."
    if code == -signal.SIGKILL:
        return "out_of_memory", "The model was stopped while it was loaded or run: too much memory or time."
    return "examination_failed", "The model made its examination crash while it was checked, loaded or run."


def _refused(code: str, detail: str) -> ModelRefused:
    return ModelRefused([Problem(code=code, where="", detail=detail)])
