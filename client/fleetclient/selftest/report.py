"""What a self-test found, as a JSON file in the state folder, and when it has to be made again."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Final

from fleetclient import __version__
from fleetclient.clock import wall_seconds
from fleetclient.files import write_durably
from fleetclient.machine import machine_fingerprint, runtime_version

FILE_NAME: Final = "selftest.json"
WEEK_SECONDS: Final = 7 * 24 * 3600.0
# What failed once may have been short of memory; it is worth another look, and not one after the other.
FAILED_SECONDS: Final = 3600.0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class GraphReport:
    """One graph: `error` is the greatest difference found, in the unit that `detail` names.

    `rows_per_second` is wall time between the runner's start of a unit and its end; `memory_bytes` is the most the
    runner's process ever held. Both are 0 where the graph could not be run.
    """

    name: str
    passed: bool
    detail: str
    error: float = 0.0
    rows_per_second: float = 0.0
    memory_bytes: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SelfTestReport:
    """One self-test, with the versions it holds for.

    `machine` tells this processor and kernel from others. `walls` is what the runner said of its confinement, in order
    of the graphs the last one. Temperatures are of the device in degrees Celsius, None where no sensor can be read.
    `int8`: how this processor adds 8-bit products, `exact` or `saturating`, empty when the graph failed.
    """

    made_at_unix: float
    client_version: str
    runtime_version: str
    machine: str
    provider: str
    isa: str
    int8: str
    opset_max: int
    comparison_class: str
    graphs: tuple[GraphReport, ...]
    walls: dict[str, bool]
    temperature_before_c: float | None = None
    temperature_after_c: float | None = None

    @property
    def passed(self) -> bool:
        """True when every graph gave what it should."""
        return bool(self.graphs) and all(graph.passed for graph in self.graphs)

    @property
    def failure(self) -> str:
        """What failed, for people; empty when nothing did."""
        failed = [f"{graph.name}: {graph.detail}" for graph in self.graphs if not graph.passed]
        return "; ".join(failed) or ("" if self.graphs else "no graph was run")


def write_report(state_dir: Path, report: SelfTestReport) -> None:
    """Store a report in one step."""
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_durably(state_dir / FILE_NAME, json.dumps(dataclasses.asdict(report), indent=1).encode())


def read_report(state_dir: Path) -> SelfTestReport | None:
    """Return the last report, or None when there is none that this version can read."""
    try:
        document: dict[str, Any] = json.loads((state_dir / FILE_NAME).read_bytes())
        graphs = tuple(GraphReport(**graph) for graph in document.pop("graphs"))
        return SelfTestReport(**document, graphs=graphs)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def needs_run(state_dir: Path, *, version: str = __version__) -> str:
    """Return why a self-test is due for this version of the client, in words; empty when the last one still holds."""
    report = read_report(state_dir)
    if report is None:
        return "no self-test was made yet"
    return _change_since(report, version) or _age_of(report)


def _change_since(report: SelfTestReport, version: str) -> str:
    if report.client_version != version:
        return f"the client is now {version}, tested was {report.client_version}"
    if report.runtime_version != (runtime := runtime_version()):
        return f"onnxruntime is now {runtime}, tested was {report.runtime_version}"
    return "" if report.machine == machine_fingerprint() else "the processor or the kernel has changed"


def _age_of(report: SelfTestReport) -> str:
    age_seconds = wall_seconds() - report.made_at_unix
    if age_seconds < 0:
        return "the clock was set back since the last self-test"
    if report.passed:
        return "" if age_seconds < WEEK_SECONDS else "the last self-test is a week old"
    return "" if age_seconds < FAILED_SECONDS else "the last self-test failed an hour ago"


def why_ineligible(state_dir: Path) -> str:
    """Return why this car must not work, for the gate `suspended_ops`; empty when a self-test that holds has passed."""
    due = needs_run(state_dir)
    if due:
        return f"a self-test is due: {due}"
    report = read_report(state_dir)
    failure = report.failure if report is not None else "its report has gone"
    return f"the self-test failed: {failure}" if failure else ""
