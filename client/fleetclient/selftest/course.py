"""One self-test from beginning to end: each graph through a runner as work would go, then the report.

The runner is the same child behind the same walls; a graph that crashes it is a failed graph. Must be called from a
process's main thread, as the kernel ends a runner with the thread that started it.
"""

from __future__ import annotations

import hashlib
import select
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fleetclient import __version__
from fleetclient.clock import wall_seconds
from fleetclient.local.thermal import Thermometer
from fleetclient.machine import comparison_class, isa_tier, machine_fingerprint, runtime_version
from fleetclient.runner.jobs import (
    Job,
    RunnerExited,
    RunnerFailed,
    RunnerReady,
    RunnerSettings,
    UnitDone,
    UnitFailed,
    UnitStarted,
)
from fleetclient.runner.options import SandboxOptions
from fleetclient.runner.process import Runner
from fleetclient.selftest.graphs import GRAPH_OPTIMIZATION, GRAPHS, ROWS, SECONDS_MAX, Graph, Verdict, write_files
from fleetclient.selftest.report import GraphReport, SelfTestReport, write_report
from fleetclient.selftest.runtime import RuntimeFacts, RuntimeUnusable, choose_provider, read_facts
from fleetclient.selftest.tensors import read_floats, repeat_rows

SALT: Final = "00" * 16
# Long enough for a rate, short enough for a car that wants to begin.
MEASURED_SECONDS: Final = 1.0
REPEATS_MAX: Final = 256

Temperature = Callable[[], float | None]


class GraphFailed(Exception):
    """A graph did not get through the runner; the text says at which point."""


@dataclass
class _Run:
    """One runner with one graph loaded, and what it said."""

    runner: Runner
    walls: dict[str, bool] = field(default_factory=dict)
    memory_bytes: int = 0

    def run(self, token: str, document: bytes, rows: int, folder: Path) -> tuple[Path, float]:
        """Run one unit; return its output's path and the wall seconds it took. Raises GraphFailed."""
        input_path, output_path = folder / f"{token}.in", folder / f"{token}.safetensors"
        input_path.write_bytes(document)
        self.runner.submit(
            Job(
                token=token,
                rows=rows,
                salt=SALT,
                input_digest=hashlib.sha256(document).hexdigest(),
                input_path=input_path,
                output_path=output_path,
            )
        )
        return output_path, self._wait()

    def _wait(self) -> float:
        began_at = give_up_from = time.monotonic()
        while time.monotonic() - give_up_from < SECONDS_MAX:
            select.select([self.runner.fileno()], [], [], 1.0)
            for event in self.runner.poll():
                match event:
                    case RunnerReady():
                        self.walls = dict(event.confinement)
                    case UnitStarted():
                        began_at = time.monotonic()
                    case UnitDone():
                        self.memory_bytes = max(self.memory_bytes, _peak_bytes(self.runner.pid))
                        return time.monotonic() - began_at
                    case RunnerFailed() | UnitFailed():
                        raise GraphFailed(f"{event.reason}: {event.detail}")
                    case RunnerExited():
                        raise GraphFailed(f"the runner ended with {event.returncode}: {event.last_words}")
        raise GraphFailed(f"no answer within {SECONDS_MAX} s")


def run_selftest(
    state_dir: Path,
    *,
    sandbox: SandboxOptions | None = None,
    read_temperature: Temperature | None = None,
    facts: RuntimeFacts | None = None,
) -> SelfTestReport:
    """Run all graphs, store the report and return it; takes some seconds.

    A runtime that cannot be used at all is a failed self-test like any other.
    """
    sandbox = sandbox or SandboxOptions()
    read_temperature = read_temperature or Thermometer().read
    try:
        facts = facts or read_facts()
    except RuntimeUnusable as error:
        report = _report(RuntimeFacts(version=runtime_version(), providers=(), opset_max=0), [_unusable(error)])
        write_report(state_dir, report)
        return report
    provider, short = choose_provider(facts.providers, allow_gpu=sandbox.allow_gpu, probes_pass=gpu_is_confined)
    before = read_temperature()
    folder = state_dir / "selftest"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    try:
        results = [run_graph(graph, folder=folder, sandbox=sandbox, provider=provider) for graph in GRAPHS]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report = _report(facts, results, provider=provider, short=short, before=before, after=read_temperature())
    write_report(state_dir, report)
    return report


@dataclass(frozen=True, kw_only=True)
class GraphResult:
    """One graph's part of the report."""

    report: GraphReport
    int8: str = ""
    walls: dict[str, bool] = field(default_factory=dict)


def _unusable(error: RuntimeUnusable) -> GraphResult:
    return GraphResult(report=GraphReport(name="runtime", passed=False, detail=str(error)))


def _report(
    facts: RuntimeFacts,
    results: Sequence[GraphResult],
    *,
    provider: str = "",
    short: str = "cpu",
    before: float | None = None,
    after: float | None = None,
) -> SelfTestReport:
    int8, isa = next((result.int8 for result in results if result.int8), ""), isa_tier()
    return SelfTestReport(
        made_at_unix=wall_seconds(),
        client_version=__version__,
        runtime_version=facts.version,
        machine=machine_fingerprint(),
        provider=provider,
        isa=isa,
        int8=int8,
        opset_max=facts.opset_max,
        comparison_class=comparison_class(
            runtime=facts.version, isa=isa, provider=short, level=GRAPH_OPTIMIZATION, int8=int8
        ),
        graphs=tuple(result.report for result in results),
        walls=results[-1].walls,
        temperature_before_c=before,
        temperature_after_c=after,
    )


def gpu_is_confined(_: str) -> bool:
    """Return True when every probe is denied from inside the wider walls that a GPU's driver needs."""
    from fleetclient.runner.probes import run_probes

    return run_probes(profile="gpu").all_denied


def run_graph(graph: Graph, *, folder: Path, sandbox: SandboxOptions, provider: str) -> GraphResult:
    """Run one graph on its expected rows, then for about a second for its rate."""
    model_path, contract = write_files(graph, folder)
    settings = RunnerSettings(
        model_path=model_path,
        contract=contract,
        memory_bytes=contract.limits.memory_bytes,
        sandbox=sandbox,
        providers=(provider,),
    )
    run = _Run(Runner(settings, folder=folder))
    try:
        verdict, rate = _compare_and_measure(run, graph, folder)
    except GraphFailed as failure:
        return GraphResult(report=GraphReport(name=graph.name, passed=False, detail=str(failure)), walls=run.walls)
    finally:
        run.runner.kill()
    report = GraphReport(
        name=graph.name,
        passed=verdict.passed,
        detail=verdict.detail,
        error=verdict.error,
        rows_per_second=round(rate, 1),
        memory_bytes=run.memory_bytes,
    )
    return GraphResult(report=report, int8=verdict.int8, walls=run.walls)


def _compare_and_measure(run: _Run, graph: Graph, folder: Path) -> tuple[Verdict, float]:
    inputs = graph.file("inputs.safetensors")
    output_path, seconds = run.run("golden", inputs, ROWS, folder)
    expected_path = folder / "expected.safetensors"
    expected_path.write_bytes(graph.file("outputs.safetensors"))
    verdict = graph.judge(read_floats(output_path), read_floats(expected_path))
    times = max(1, min(REPEATS_MAX, int(MEASURED_SECONDS / max(seconds, 1e-4))))
    _, seconds = run.run("rate", repeat_rows(inputs, times), times * ROWS, folder)
    return verdict, times * ROWS / seconds


def _peak_bytes(pid: int) -> int:
    """Return the most memory a process ever held; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("ascii", "replace").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)
