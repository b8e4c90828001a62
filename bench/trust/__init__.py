"""`trust`: what audits after commit cost, and what wrong results become final all the same.

Two parts: `statistics` plays whole fleets in process with the engine's own rules, for as many lives as the intervals
need; `http` lets a small fleet of adversaries loose on a real server. Each scenario is one object of `scenarios`.
"""

from __future__ import annotations

import argparse
import time

from bench.measure.machine import describe_machine
from bench.trust.statistics.scenarios import SCENARIOS

PARTS = ("statistics", "http", "all")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the benchmark's options."""
    parser.add_argument("--part", choices=PARTS, default="all", help="which part to run")
    parser.add_argument("--quick", action="store_true", help="a few cars only: seconds, and intervals that say little")
    names = ", ".join(each.name for each in SCENARIOS)
    parser.add_argument("--scenario", metavar="NAME", help=f"one scenario only; of the statistics: {names}")
    parser.add_argument("--seed", type=int, default=1, help="the statistics repeat with it")
    parser.add_argument("--processes", type=int, default=0, help="processes of the statistics; 0: one a core")
    parser.add_argument("--cars", type=int, help="cars over HTTP; else 100, or 12 with --quick")
    parser.add_argument("--units", type=int, help="units for each car over HTTP; else 100, or 12 with --quick")


def run(options: argparse.Namespace) -> dict[str, object]:
    """Run the parts and return the figures; `missed` names the scenarios that miss a target."""
    started = time.monotonic()
    scenarios: list[dict[str, object]] = []
    if options.part in ("statistics", "all"):
        from bench.trust.statistics import run_statistics  # a part is imported when it is run

        scenarios += run_statistics(options)
    if options.part in ("http", "all"):
        from bench.trust.http import run_http

        scenarios += run_http(options)
    if options.scenario and not scenarios:
        raise SystemExit(f"No scenario is called {options.scenario!r}.")
    return {
        "benchmark": "trust",
        "scenarios": scenarios,
        "missed": [each["name"] for each in scenarios if each.get("met") is False],
        "seconds": time.monotonic() - started,
        "machine": describe_machine(),
    }
