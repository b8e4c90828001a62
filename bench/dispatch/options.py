"""What a run of `dispatch` can be asked for, and what follows from it."""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Sequence

# The wire's inline limit is a policy number; a run stays below its default, so that no output needs a second request.
OUTPUT_BYTES_MIN = 128
OUTPUT_BYTES_MAX = 8192
# Units are made for this rate, so that no batch runs out while the clock runs.
REPLICAS_PER_SECOND_MAX = 10_000
# Of every so many answers, one has its director's signature checked: checking all would measure the load generator.
ANSWERS_PER_CHECK = 20


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DispatchOptions:
    """One run. `seconds` is how long cars ask for new work; the clock then runs on until all of it is settled."""

    per_call: int = 10
    quorum: int = 2
    seconds: float = 60.0
    owners: int = 100
    batches: int = 10
    output_bytes: int = 512
    connections: int = 16
    web_workers: int = 2
    web_threads: int = 4
    worker_concurrency: int = 2
    units_per_batch: int = 0

    @property
    def units(self) -> int:
        """How many units each batch gets."""
        if self.units_per_batch:
            return self.units_per_batch
        replicas = REPLICAS_PER_SECOND_MAX * self.seconds + 4 * self.owners * self.per_call
        return max(200, math.ceil(replicas / (self.quorum * self.batches)))


def parse_options(arguments: Sequence[str] | None) -> tuple[DispatchOptions, bool]:
    """Return the options of a command line, and whether JSON alone is wanted."""
    parser = argparse.ArgumentParser(prog="python -m bench dispatch", description=__doc__)
    for field in dataclasses.fields(DispatchOptions):
        kind = float if isinstance(field.default, float) else int
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=field.default)
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    values = vars(parser.parse_args(arguments))
    is_json = bool(values.pop("json"))
    options = DispatchOptions(**values)
    problem = _problem(options)
    if problem:
        parser.error(problem)
    return options, is_json


def _problem(options: DispatchOptions) -> str:
    if not OUTPUT_BYTES_MIN <= options.output_bytes <= OUTPUT_BYTES_MAX or options.output_bytes % 8:
        return f"--output-bytes must be a multiple of 8 from {OUTPUT_BYTES_MIN} to {OUTPUT_BYTES_MAX}"
    if options.owners <= options.quorum:
        return "--owners must be above --quorum: an owner gets a unit once"
    if min(options.per_call, options.quorum, options.batches, options.connections, options.seconds) <= 0:
        return "all numbers must be above zero"
    return ""
