"""The command line: `python -m bench [NAME [options]] [--json]`."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from bench.all import run_all
from bench.measure.table import format_report

# A new benchmark is one more line.
BENCHMARKS: Final[Mapping[str, str]] = {
    "split": "bench.split",
    "dispatch": "bench.dispatch",
    "validate": "bench.validate",
    "client": "bench.client",
    "preempt": "bench.preempt",
    "efficiency": "bench.efficiency",
    "hostile": "bench.hostile",
    "numerics": "bench.numerics",
    "trust": "bench.trust",
}


def main(arguments: Sequence[str]) -> int:
    """Run one benchmark, or all; return the exit status: 1 where a run counted errors."""
    if arguments and arguments[0] in BENCHMARKS:
        return _measure(arguments[0], arguments[1:])
    parser = argparse.ArgumentParser(prog="python -m bench", description="Without a name, runs every benchmark.")
    parser.add_argument("--json", action="store_true", help="print one JSON object a run")
    parser.add_argument("name", nargs="?", choices=sorted(BENCHMARKS), help="see `python -m bench NAME --help`")
    options = parser.parse_args(arguments)
    if options.name:
        return _measure(options.name, ["--json"] if options.json else [])
    return run_all(is_json=options.json)


def _measure(name: str, arguments: Sequence[str]) -> int:
    """Print the figures of one run as one line of JSON or as a table; only that benchmark is imported."""
    module: Any = importlib.import_module(BENCHMARKS[name])
    parser = argparse.ArgumentParser(prog=f"python -m bench {name}", description=module.__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    module.add_arguments(parser)
    options = parser.parse_args(arguments)
    report: dict[str, object] = module.run(options)
    print(json.dumps(report) if options.json else format_report(report))
    return 1 if report.get("errors") else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
