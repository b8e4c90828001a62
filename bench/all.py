"""Every benchmark, one after the other: one table for people, one JSON file a run in `bench-results/`.

Each runs in a process of its own, for each sets the environment of its own installation.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bench.measure.table import format_table
from fleetcompute.embedded.home import PROJECT_ROOT

RESULTS: Final = PROJECT_ROOT / "bench-results"
# What is run, by the name of its file.
RUNS: Final[Mapping[str, Sequence[str]]] = {
    "split": ("split",),
    "dispatch": ("dispatch",),
    "dispatch-one-per-call": ("dispatch", "--per-call", "1", "--seconds", "20"),
    "dispatch-quorum-3": ("dispatch", "--quorum", "3", "--seconds", "20"),
    "validate": ("validate",),
    "client": ("client",),
    "preempt": ("preempt",),
    "efficiency": ("efficiency",),
    "numerics": ("numerics",),
    "trust": ("trust", "--part", "statistics"),
}
# The figures of the table; the files have all.
FIGURES: Final = (
    "units_per_second",
    "replicas_per_second",
    "sync_per_second",
    "statements_per_sync",
    "p50_ms",
    "p95_ms",
    "p99_ms",
    "hand_back_p99_s",
    "idle_rss_mb",
    "idle_cpu_percent",
    "runner_gone_seconds",
    "ratio",
    "rows_per_second",
    "bare_rows_per_second",
    "trusted_over_quorum_1",
    "comparisons",
    "false_mismatches",
    "fp16_as_fp32_penalised",
    "int8_as_fp32_penalised",
    "server_cpu_ms_per_item",
    "errors",
)


def run_all(*, is_json: bool = False) -> int:
    """Run everything; return 1 where a run failed or counted errors."""
    rows: list[tuple[str, str, Any]] = []
    failures = 0
    for name, arguments in RUNS.items():
        print(f"Running {name}: python -m bench {' '.join(arguments)}", file=sys.stderr, flush=True)
        report = _run(arguments)
        failures += report is None or bool(report.get("errors"))
        if report is None:
            continue
        _write(RESULTS / f"{name}.json", report)
        rows += [(name, figure, report[figure]) for figure in FIGURES if figure in report]
        if is_json:
            print(json.dumps(report), flush=True)
    if not is_json:
        print(format_table(["benchmark", "figure", "value"], rows))
    return 1 if failures else 0


def _run(arguments: Sequence[str]) -> dict[str, Any] | None:
    """Return the report of one run, or None where it printed none; its messages go to standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "bench", *arguments, "--json"],
        cwd=PROJECT_ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    try:
        report: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        return None
    return report


def _write(path: Path, report: Mapping[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
