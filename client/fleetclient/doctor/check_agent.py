"""The agent and its self-test: does one run, what went wrong last, how fast is this computer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fleetclient import __version__
from fleetclient.clock import wall_seconds
from fleetclient.control_socket import AgentNotRunning, ask
from fleetclient.doctor.context import Context
from fleetclient.doctor.report import Line, fail, ok, warn
from fleetclient.selftest.report import needs_run, read_report
from fleetclient.state import StateFolder
from fleetclient.update.folder import VersionFolder, installed_is_newer
from fleetclient.words import say_seconds


def check_selftest(context: Context) -> Iterator[Line]:
    """Find out whether the self-test was passed, by these versions on this machine."""
    config = context.config
    if config is None:
        return
    report, due = read_report(config.state_dir), needs_run(config.state_dir, version=_agent_version(config.state_dir))
    if report is not None and not report.passed:
        mend = "run: fleetclient selftest; if it fails again, reinstall onnxruntime or test the memory (memtest86+)"
        yield fail("self-test", report.failure, mend)
    elif due or report is None:
        yield warn("self-test", due or "no self-test was made yet", "run: fleetclient selftest (the agent does it too)")
    else:
        speed = ", ".join(f"{graph.name} {graph.rows_per_second:.0f} rows/s" for graph in report.graphs)
        yield ok("self-test", f"{report.comparison_class}: {speed}")


def check_agent(context: Context) -> Iterator[Line]:
    """Find out whether an agent runs, and what it last stumbled over."""
    config = context.config
    if config is None or not config.state_dir.is_dir():
        return
    try:
        status = ask(config.state_dir, "status")
    except AgentNotRunning:
        last = StateFolder(config.state_dir).read_status()
        yield ok("agent", "not running" + (f"; at the end: {_doing(last)}" if last.get("state") else ""))
        return
    yield ok("agent", f"running (process {status['pid']}): {_doing(status)}")
    if status["trust"]["stop_reason"]:
        yield fail("fleet", status["trust"]["stop_reason"], "see the lines on the server and on trust")
    error = status["error"]
    if error:
        ago = say_seconds(max(0.0, wall_seconds() - error["at"]))
        yield warn(
            "last error", f"{ago} ago: {error['text']}", "see the lines on the server; the agent tries again by itself"
        )
    for refused in status["models_refused"]:
        mend = "nothing: the model is at fault. If it is so with every model, run fleetclient selftest"
        yield warn("model", f"{refused['model']} crashed too often and is refused for now", mend)


def _agent_version(state_dir: Path) -> str:
    """Return the version that an agent runs: after an update it is not the one of this command."""
    current = VersionFolder(state_dir).read().current
    return __version__ if installed_is_newer(__version__, current) else current


def _doing(status: dict[str, Any]) -> str:
    # Not the sentence: the name of a network may stand in it, and this report travels.
    reasons = ", ".join(status["reasons"])
    return str(status["state"]) + (f" ({reasons})" if reasons else "")
