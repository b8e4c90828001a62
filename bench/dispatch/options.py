"""What a run of `dispatch` can be asked for, and what follows from it."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from collections.abc import Mapping

# The wire's inline limit is a policy number; a run stays below its default, so that no output needs a second request.
OUTPUT_BYTES_MIN = 128
OUTPUT_BYTES_MAX = 8192
# Units are made for this rate, so that no batch runs out while the clock runs.
REPLICAS_PER_SECOND_MAX = 10_000
# Of every so many answers, one has its director's signature checked: checking all would measure the load generator.
ANSWERS_PER_CHECK = 20

HELP: Mapping[str, str] = {
    "per_call": "replicas that a car asks for in each sync",
    "quorum": "replicas that each unit needs",
    "seconds": "how long cars ask for work",
    "owners": "owners, with a car each",
    "batches": "batches in progress",
    "output_bytes": "size of each output, inline in the sync",
    "connections": "cars that talk at the same time",
    "web_workers": "web processes",
    "web_threads": "threads of each web process",
    "worker_concurrency": "processes of the Celery worker",
    "units_per_batch": "work units of each batch, 0 for as many as the run may need",
}


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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the benchmark's options, named as the fields."""
    for field in dataclasses.fields(DispatchOptions):
        kind = float if isinstance(field.default, float) else int
        help_text = f"{HELP[field.name]} (default: {field.default})"
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=field.default, help=help_text)


def read_options(values: argparse.Namespace) -> DispatchOptions:
    """Return the options of a parsed command line. Raises SystemExit with a sentence where they do not go together."""
    names = [field.name for field in dataclasses.fields(DispatchOptions)]
    options = DispatchOptions(**{name: getattr(values, name) for name in names})
    problem = _problem(options)
    if problem:
        raise SystemExit(problem)
    return options


def encode_options(options: DispatchOptions) -> str:
    """Return the options as one argument for another process."""
    return json.dumps(dataclasses.asdict(options))


def decode_options(text: str) -> DispatchOptions:
    """Return what `encode_options` was given."""
    return DispatchOptions(**json.loads(text))


def _problem(options: DispatchOptions) -> str:
    if not OUTPUT_BYTES_MIN <= options.output_bytes <= OUTPUT_BYTES_MAX or options.output_bytes % 8:
        return f"--output-bytes must be a multiple of 8 from {OUTPUT_BYTES_MIN} to {OUTPUT_BYTES_MAX}"
    if options.owners <= options.quorum:
        return "--owners must be above --quorum: an owner gets a unit once"
    if min(options.per_call, options.quorum, options.batches, options.connections, options.seconds) <= 0:
        return "all numbers must be above zero"
    return ""
