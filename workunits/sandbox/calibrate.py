"""Measures how far honest runs of a model are apart, and a cheaper precision, and chooses each output's tolerance.

Honest cars differ in threads, in how rows are grouped and in how the runtime rearranges the graph; all of that can be
tried here. Instruction sets cannot, which is what the floor of a tolerance is for.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import onnxruntime as ort

from workunits.domain import calibration
from workunits.domain.comparison import Comparator, OutputSpec, compare_rows, read_output_specs
from workunits.domain.comparison.tokens import is_mask
from workunits.sandbox import cheaper, comparators, plausible
from workunits.sandbox.endings import OTHER
from workunits.sandbox.report import Arrays, Problem, Refused
from workunits.sandbox.session import NUMPY, open_session
from workunits.sandbox.signature import WantedRun

ROWS: Final = 32
# Of processor time; rows are left out, down to one, and then runs, so that a large model takes not much longer.
SECONDS_MAX: Final = 12.0
# The reference, what `_ways` yields, and the lower precision; the unoptimised ones take longer.
RUNS: Final = 10
BYTES_MAX: Final = 256 * 1024 * 1024
_ALL = ort.GraphOptimizationLevel.ORT_ENABLE_ALL


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """One way in which an honest car may run a model. `is_same_class`: within one comparison class."""

    level: Any = _ALL
    threads: int = 1
    block: int
    is_same_class: bool = True


def warm_up() -> None:
    """Load whatever numpy loads at first use, while files can still be opened."""
    described = {"name": "y", "dtype": "F32", "shape": [8], "tolerance": 1e-4}
    rows = {"y": np.random.Generator(np.random.PCG64(0)).standard_normal((4, 8)).astype(np.float32)}
    for comparator in ("logits", "probabilities", "dense"):
        specs = read_output_specs([{**described, "comparator": comparator}])
        compare_rows(rows, {"y": rows["y"] * np.float32(1.5)}, specs)
    np.median(rows["y"])


def calibrate(
    model_bytes: bytes, wanted: WantedRun, outputs: list[dict[str, Any]], seconds_per_block: float
) -> list[dict[str, Any]]:
    """Return the tolerances of the outputs that have one: as rows of `ModelTolerance`, without model and time.

    Raises Refused where honest runs differ by more than the cap allows: cars could not be told from cheats.
    """
    specs = read_output_specs(outputs)
    rows = _count_rows(wanted, specs, seconds_per_block)
    names = [spec.name for spec in specs]
    feed, reference = _run_first(model_bytes, wanted, names, rows)
    measures = [Measure(spec, specs, wanted) for spec in specs if spec.name not in _partners(specs)]
    deadline = time.process_time() + SECONDS_MAX
    for number, way in enumerate(_ways(wanted)):
        if number and time.process_time() > deadline:
            break
        found = _run(model_bytes, way, names, feed)
        for measure in measures:
            measure.add_honest(reference, found, is_same_class=way.is_same_class)
    _refuse_incomparable(measures)
    lower = cheaper.make_cheaper(model_bytes)
    if lower is not None:
        found = _run(lower, Way(block=wanted.batch_rows), names, feed)
        for measure in measures:
            measure.add_cheaper(reference, found)
    stated = {output["name"] for output in wanted.outputs if output.get("tolerance") is not None}
    return [row for measure in measures for row in measure.tolerances(rows, is_stated=measure.spec.name in stated)]


def _run_first(model_bytes: bytes, wanted: WantedRun, names: list[str], rows: int) -> tuple[Arrays, Arrays]:
    """Return rows that the model takes, and what it gives for them as a car would.

    A number may index something in a way that cannot be seen; then whole numbers are zeros, and else everything is.
    """
    feed = plausible.make_rows(wanted.inputs, wanted.index_bounds, rows, NUMPY)
    no_indexes = {name: array if array.dtype.kind == "f" else np.zeros_like(array) for name, array in feed.items()}
    zeros = {name: np.zeros_like(array) for name, array in feed.items()}
    for tried in (feed, no_indexes):
        try:
            return tried, _run(model_bytes, Way(block=wanted.batch_rows), names, tried)
        except Refused:
            continue
    return zeros, _run(model_bytes, Way(block=wanted.batch_rows), names, zeros)


def _partners(specs: Sequence[OutputSpec]) -> set[str]:
    return {name for spec in specs for name in spec.options.partners}


def _ways(wanted: WantedRun) -> Iterator[Way]:
    """Yield the ways to try, those that show most first."""
    block = wanted.batch_rows
    yield Way(level=ort.GraphOptimizationLevel.ORT_DISABLE_ALL, block=block, is_same_class=False)
    if wanted.has_free_rows and block > 1:
        yield Way(block=1)
        yield Way(block=max(2, block // 2 - 1))
    yield Way(threads=2, block=block)
    yield Way(level=ort.GraphOptimizationLevel.ORT_ENABLE_BASIC, block=block, is_same_class=False)


def _count_rows(wanted: WantedRun, specs: Sequence[OutputSpec], seconds_per_block: float) -> int:
    """Return how many rows there is time and memory for; every way takes them all."""
    affordable = SECONDS_MAX / RUNS / max(seconds_per_block / wanted.batch_rows, 1e-9)
    row_bytes = sum(spec.bytes_per_row for spec in specs) + sum(
        int(np.prod(spec["shape"], dtype=np.int64)) * 8 for spec in wanted.inputs
    )
    return int(max(1, min(ROWS, affordable, BYTES_MAX // max(1, row_bytes))))


def _run(model_bytes: bytes, way: Way, names: list[str], feed: Arrays) -> Arrays:
    session = open_session(model_bytes, way.level, threads=way.threads)
    rows = len(next(iter(feed.values())))
    blocks = []
    for first in range(0, rows, way.block):
        part = {name: array[first : first + way.block] for name, array in feed.items()}
        try:
            blocks.append(session.run(names, part))
        except Exception as error:  # noqa: BLE001  onnxruntime raises a dozen unrelated classes
            detail = f"The model fails on {len(next(iter(part.values())))} random rows: {' '.join(str(error).split())}"
            raise Refused(Problem(code="dry_run_failed", where="", detail=detail)) from None
    return {name: np.concatenate(arrays) for name, arrays in zip(names, zip(*blocks, strict=True), strict=True)}


class Measure:
    """What was seen of one output so far, as distances of its comparator.

    Taken in units of the floor, as every rule is in proportion to the tolerance. An exact output has no unit: there
    any difference is infinite.
    """

    def __init__(self, spec: OutputSpec, specs: Sequence[OutputSpec], wanted: WantedRun) -> None:
        others = {*spec.options.partners, spec.options.companion}
        involved = [spec, *(each for each in specs if each.name in others)]
        # Choices are as close as the scores that they are made from.
        judge = involved[-1] if spec.comparator == Comparator.TOKENS else spec
        # Of a mask without scores only the number of differences is judged, which has no unit.
        self.spec, self.cap = spec, 1.0 if judge.comparator == Comparator.TOKENS and is_mask(judge) else judge.tolerance
        ending = wanted.endings.get(judge.name, OTHER)
        precision = comparators.find_precision(judge.dtype, judge.comparator, wanted.precision, ending)
        self.floor = calibration.tolerance_floor(judge.comparator, precision)
        self._rounding = calibration.rounding_of(judge.comparator, judge.dtype, precision)
        self._is_8_bit = judge.comparator == Comparator.INT8 or ending.is_quantised
        self._unit = self.floor or 1.0
        self._involved = [replace(each, tolerance=self._unit if each.tolerance > 0 else 0.0) for each in involved]
        self.observed = self.observed_same_class = 0.0
        self.cheaper: float | None = None

    def _distances(self, first: Arrays, second: Arrays) -> np.ndarray[Any, Any]:
        return compare_rows(first, second, self._involved) * self._unit

    def add_honest(self, reference: Arrays, found: Arrays, *, is_same_class: bool) -> None:
        """Take in an honest run."""
        largest = float(self._distances(reference, found).max(initial=0.0))
        self.observed = max(self.observed, largest)
        if is_same_class:
            self.observed_same_class = max(self.observed_same_class, largest)

    def add_cheaper(self, reference: Arrays, found: Arrays) -> None:
        """Take in a run in the next lower precision. Nothing is learned where it changes nothing."""
        median = float(np.median(self._distances(reference, found)))
        self.cheaper = median if 0 < median < np.inf else None

    def problem(self) -> Problem | None:
        """Return why cars could not be compared by this output, if so."""
        if calibration.is_comparable(self.observed, self.cap):
            return None
        name, comparator = self.spec.name, self.spec.comparator
        if not np.isfinite(self.observed):
            detail = (
                f"Honest runs of the model already differ in output {name!r}, which is compared as {comparator!r}."
                " If it is a choice, let the model give the scores as well (see comparator 'tokens')."
            )
        else:
            detail = (
                f"Honest runs of the model differ by {self.observed:.2g} in output {name!r}, and no more than"
                f" {self.cap * calibration.OBSERVED_SHARE_MAX:.2g} is allowed: honest cars would be taken for cheats."
            )
        return Problem(code="not_comparable", where=f"output {name}", detail=detail)

    def tolerances(self, samples: int, *, is_stated: bool) -> Iterator[dict[str, Any]]:
        """Yield the tolerance across classes, and the one within a class where that differs."""
        if self.spec.comparator in (Comparator.EXACT, Comparator.TOKENS) or self.spec.tolerance <= 0:
            return
        # Of 8-bit arithmetic other classes make anything up to the cap, and none of them can be tried here.
        tolerance = self.cap if is_stated or self._is_8_bit else self._choose(self.observed, self.cap)
        yield self._row("", tolerance, self.observed, samples)
        if self._is_8_bit:
            cap = min(self.cap, calibration.INT8_SAME_CLASS_CAP)
            tolerance = self._choose(self.observed_same_class, cap)
            yield self._row(calibration.SAME_CLASS, tolerance, self.observed_same_class, samples)

    def _choose(self, observed: float, cap: float) -> float:
        return calibration.choose_tolerance(
            observed_max=observed, cheaper=self.cheaper, floor=self.floor, cap=cap, rounding=self._rounding
        )

    def _row(self, comparison_class: str, tolerance: float, observed: float, samples: int) -> dict[str, Any]:
        return {
            "output": self.spec.name,
            "comparison_class": comparison_class,
            "tolerance": tolerance,
            "observed_max": observed,
            "cheaper_distance": self.cheaper,
            "samples": samples,
        }


def _refuse_incomparable(measures: Sequence[Measure]) -> None:
    problems = [problem for measure in measures if (problem := measure.problem()) is not None]
    if problems:
        raise Refused(*problems)
