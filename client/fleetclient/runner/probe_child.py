"""The probes' own process: forks one child for each thing to try, which walls itself in as a runner does, and tries it.

    python -m fleetclient.runner.probe_child '{"mode": "probe", "profile": "cpu", "folder": "/tmp/empty"}'

prints one JSON object. Each child stands for a runner whose model has taken it over; this process plays its agent.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from fleetclient.runner import confinement, syscalls
from fleetclient.runner.bounds import Bounds
from fleetclient.runner.probe_acts import PROBES, Probe, Stage, set_stage

BOUNDS = Bounds(memory_bytes=512 * 1024**2, file_bytes=64 * 1024, cpu_seconds=1)
# What an exec that should not have worked leaves as its exit status.
EXECUTED = 42
_PROFILES = {profile.name: profile for profile in (syscalls.CPU, syscalls.GPU)}
# Ways in which a kernel or a limit says no. Any other error means that the probe itself failed, and proves nothing.
_DENIALS = frozenset({errno.EPERM, errno.EACCES, errno.ENOSYS, errno.ENOMEM, errno.EFBIG, errno.ENETUNREACH})
_SIGNALS = frozenset({signal.SIGSYS, signal.SIGXCPU, signal.SIGXFSZ})


def main() -> None:
    """Do what the request says and print the report."""
    request = json.loads(sys.argv[1])
    profile, off = _PROFILES[request["profile"]], tuple(request["off"])
    walls, refused = _try_walls(profile, off)
    report: dict[str, Any] = {"walls": walls, "reason_refused": refused}
    if request["mode"] == "probe" and not refused:
        stage = set_stage(Path(request["folder"]), secret=request.get("secret"), bounds=BOUNDS)
        only = set(request.get("only") or ())
        report["outcomes"] = [
            _try(probe, stage, profile, off)
            for probe in PROBES
            if (probe.is_for_all or not profile.may_make_code) and (not only or probe.name in only)
        ]
    print(json.dumps(report))  # noqa: T201 - this is how it answers


def _try_walls(profile: syscalls.Profile, off: tuple[str, ...]) -> tuple[dict[str, bool], str]:
    """Put up the walls around a process that does nothing; return which hold, and why work is refused."""
    try:
        import pyseccomp  # type: ignore[import-untyped]  # noqa: F401
    except (ImportError, RuntimeError):
        from fleetclient.runner.probes import LIBRARY_HELP

        return {}, LIBRARY_HELP
    if "all" in off:
        return {}, ""
    _, answer = _in_child(lambda: _answer_with_walls(profile, off))
    return ({}, answer["refused"]) if "refused" in answer else (answer, "")


def _answer_with_walls(profile: syscalls.Profile, off: tuple[str, ...]) -> dict[str, Any]:
    try:
        return _wall_in(profile, off)
    except confinement.Unconfined as error:
        return {"refused": str(error)}


def _wall_in(profile: syscalls.Profile, off: tuple[str, ...]) -> dict[str, bool]:
    if "all" in off:
        return {}
    holds = confinement.step_back(off=off) | confinement.leave_namespaces(off=off)
    return holds | confinement.raise_walls(BOUNDS, parent_pid=_agent_pid, profile=profile, off=off)


_agent_pid = os.getpid()


def _try(probe: Probe, stage: Stage, profile: syscalls.Profile, off: tuple[str, ...]) -> dict[str, Any]:
    def act() -> dict[str, Any]:
        _wall_in(profile, (*off, "idle_priority"))  # no wall, and spinning when idle may take for ever
        try:
            probe.act(stage)
        except OSError as error:
            return {"denied": error.errno in _DENIALS, "how": errno.errorcode.get(error.errno or 0, str(error))}
        return {"denied": False, "how": "possible"}

    status, answer = _in_child(act)
    if not answer:
        answer = _read_status(status)
    return {"name": probe.name, "what": probe.what, "is_denied": answer["denied"], "how": answer["how"]}


def _read_status(status: int) -> dict[str, Any]:
    if os.WIFSIGNALED(status):
        number = signal.Signals(os.WTERMSIG(status))
        return {"denied": number in _SIGNALS, "how": f"ended by {number.name}"}
    code = os.WEXITSTATUS(status)
    return {"denied": False, "how": "possible" if code == EXECUTED else f"ended with status {code}"}


def _in_child(act: Any) -> tuple[int, dict[str, Any]]:
    """Run `act` in a forked process and return its wait status, and its answer if it lived to give one."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reading)
            os.write(writing, json.dumps(act()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    answer = b""
    while piece := os.read(reading, 4096):
        answer += piece
    os.close(reading)
    _, status = os.waitpid(pid, 0)
    return status, json.loads(answer or b"{}")


if __name__ == "__main__":
    main()
