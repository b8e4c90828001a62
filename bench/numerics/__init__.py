"""`numerics`: whether honest runs of a model agree, and whether a cheaper precision is found.

Real and made models are admitted as a researcher's would be, and so get their comparators and tolerances. Then each is
run in many honest ways, in processes of their own: threads, rows in a block, graph optimisation, and two versions of
onnxruntime, the second installed into a temporary folder. Every pair of ways is compared row by row: none may be a
mismatch. A downgrade is the model in half precision, or quantised to 8 bits, passed off as what it was; it must be a
mismatch, not only a doubt, within one unit.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from bench.measure.machine import describe_machine

# The oldest line that the client installs with.
OTHER_RUNTIME: Final = "1.29.0"
UNIT_ROWS: Final = 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the benchmark's options."""
    parser.add_argument("--quick", action="store_true", help="few rows: seconds, and intervals that say little")
    parser.add_argument(
        "--other-runtime", default=OTHER_RUNTIME, metavar="VERSION", help="second onnxruntime; '' for none"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the rows")


def run(options: argparse.Namespace) -> dict[str, object]:
    """Return the figures; `errors` counts honest pairs that were taken for cheats."""
    from bench.numerics.judge import Tally  # numpy and onnx take a second
    from bench.numerics.runtime import Runtimes
    from bench.numerics.subjects import list_subjects

    logging.getLogger().setLevel(logging.ERROR)  # the converters are talkative
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="fleetcompute-numerics-") as name:
        folder = Path(name)
        runtimes = Runtimes(folder, options.other_runtime)
        for subject in list_subjects(options.seed, is_quick=options.quick):
            print(f"Running {subject.name}", file=sys.stderr, flush=True)
            tally.add(subject, runtimes, folder)
        report: dict[str, Any] = {"benchmark": "numerics", **tally.report(), **runtimes.report()}
    return {**report, "machine": describe_machine()}
