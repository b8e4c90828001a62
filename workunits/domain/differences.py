"""Where outputs of one work unit differ, for somebody who has to judge it: distances, rows and single values.

In: the same tensor of two or three outputs, `[rows, *shape]` each. Out: few rows and values, however large they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from workunits.domain.audits.ladder import judge_by_anchor
from workunits.domain.audits.sequence import AuditState
from workunits.domain.comparison import Comparator, OutputSpec, compare_rows, measure_tensors
from workunits.domain.tensors import NUMPY_DTYPES, Tensor

FIRST_ROWS: Final = 3
WORST_ROWS: Final = 5
POINTS: Final = 10
VALUES: Final = 8
TOP: Final = 5
# Outputs whose last axis is a score for each class: their ranking says more than their values.
RANKED: Final = frozenset({Comparator.LOGITS, Comparator.PROBABILITIES})
# How the outputs of two sides, by name, are compared.
SpecsBetween = Callable[[str, str], Sequence[OutputSpec]]
_VERDICTS: Final = {
    AuditState.PASSED: "agrees",
    AuditState.FAILED: "differs",
    AuditState.INCONCLUSIVE: "inconclusive",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class PairDistance:
    """How far two sides are apart, in tolerances, and what the rule says of it."""

    first: str
    second: str
    distance: float
    verdict: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RowDifference:
    """A row that differs: its `distance` in tolerances; `values` and `top` have an entry for each side."""

    number: int
    distance: float
    values: list[list[Any]]
    top: list[list[tuple[int, float]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class PointDifference:
    """A single value that differs: its row, its place in the row, and each side's value."""

    row: int
    place: tuple[int, ...]
    values: list[Any]
    difference: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorDifference:
    """One tensor of all sides. Rows and points are chosen by how far the first side is from the last.

    `judged_with` names the output as a part of which this one is judged, so that it has no distances of its own.
    """

    spec: OutputSpec
    judged_with: str
    distances: list[PairDistance]
    rows_compared: int
    rows_differing: int
    rows: list[RowDifference]
    points: list[PointDifference]


def describe_differences(
    sides: Mapping[str, Mapping[str, Tensor]], specs_between: SpecsBetween
) -> list[TensorDifference]:
    """Return for each tensor where the sides differ. Give the side that is judged first, the most trusted one last.

    `specs_between` says how the outputs of two sides are compared: tolerances depend on both their classes.
    """
    names = list(sides)
    specs = specs_between(names[0], names[-1])
    return [_describe(sides, spec, specs, specs_between) for spec in specs]


def judge_distance(distance: float) -> str:
    """Return what a distance in tolerances means: agrees, differs, or inconclusive between the two."""
    return _VERDICTS[judge_by_anchor(distance)]


def _describe(
    sides: Mapping[str, Mapping[str, Tensor]],
    spec: OutputSpec,
    specs: Sequence[OutputSpec],
    specs_between: SpecsBetween,
) -> TensorDifference:
    judged_with = next((other.name for other in specs if spec.name in other.options.partners), "")
    outputs = list(sides.values())
    tensors = [output[spec.name] for output in outputs]
    first, last = (_flat(tensor) for tensor in (tensors[0], tensors[-1]))
    differs = first.view(np.uint8).reshape(len(first), -1) != last.view(np.uint8).reshape(len(last), -1)
    differing = np.flatnonzero(differs.any(axis=1))
    by_row = _relative(first, last) if judged_with else compare_rows(outputs[0], outputs[-1], _rules_of(spec, specs))
    return TensorDifference(
        spec=spec,
        judged_with=judged_with,
        distances=[] if judged_with else _measure_pairs(sides, spec, specs_between),
        rows_compared=len(first),
        rows_differing=len(differing),
        rows=[_describe_row(tensors, spec, row, float(by_row[row])) for row in _choose(differing, by_row)],
        points=_list_points(tensors, first, last),
    )


def _rules_of(spec: OutputSpec, specs: Sequence[OutputSpec]) -> list[OutputSpec]:
    """Return what measures an output: its own rule, and that of the output that it has to be looked at with."""
    return [each for each in specs if each.name in (spec.name, spec.options.companion)]


def _measure_pairs(
    sides: Mapping[str, Mapping[str, Tensor]], spec: OutputSpec, specs_between: SpecsBetween
) -> list[PairDistance]:
    pairs = []
    for first, second in combinations(sides, 2):
        rules = _rules_of(spec, specs_between(first, second))
        distance = measure_tensors(sides[first], sides[second], rules)
        pairs.append(PairDistance(first=first, second=second, distance=distance, verdict=judge_distance(distance)))
    return pairs


def _choose(differing: npt.NDArray[np.intp], distances: npt.NDArray[np.float64]) -> list[int]:
    """Return the first rows that differ and the worst ones, in their order."""
    worst = differing[np.argsort(-distances[differing], kind="stable")[:WORST_ROWS]]
    return sorted({*differing[:FIRST_ROWS].tolist(), *worst.tolist()})


def _describe_row(tensors: Sequence[Tensor], spec: OutputSpec, row: int, distance: float) -> RowDifference:
    is_ranked = spec.comparator in RANKED and spec.shape != ()
    return RowDifference(
        number=row,
        distance=distance,
        values=[tensor[row].reshape(-1)[:VALUES].tolist() for tensor in tensors],
        top=[_top(tensor[row]) if is_ranked else [] for tensor in tensors],
    )


def _top(row: Tensor) -> list[tuple[int, float]]:
    """Return the best classes with their scores; of a row with many rankings, those of the first."""
    scores = row.reshape(-1, row.shape[-1])[0].astype(np.float64)
    best = np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable")[:TOP]
    return [(int(place), float(scores[place])) for place in best]


def _list_points(tensors: Sequence[Tensor], first: Tensor, last: Tensor) -> list[PointDifference]:
    difference = np.abs(_finite(first) - _finite(last)).reshape(-1)
    largest = np.argsort(-difference, kind="stable")[:POINTS]
    shape = tensors[0].shape
    points = []
    for place in largest:
        if difference[place] > 0:
            row, *within = (int(index) for index in np.unravel_index(place, shape))
            points.append(
                PointDifference(
                    row=row,
                    place=tuple(within),
                    values=[tensor.reshape(-1)[place].item() for tensor in tensors],
                    difference=float(difference[place]),
                )
            )
    return points


def _relative(first: Tensor, last: Tensor) -> npt.NDArray[np.float64]:
    """Return ‖x - y‖ / ‖larger‖ of each row, where no rule measures it."""
    x, y = _finite(first), _finite(last)
    larger = np.maximum(np.linalg.norm(x, axis=1), np.linalg.norm(y, axis=1))
    apart = np.linalg.norm(x - y, axis=1)
    relative: npt.NDArray[np.float64] = np.divide(apart, larger, out=np.zeros_like(apart), where=larger > 0)
    return relative


def _finite(tensor: Tensor) -> npt.NDArray[np.float64]:
    """Return the values as numbers that can be subtracted; NaN counts as nothing, infinities as very large."""
    return np.nan_to_num(tensor.astype(np.float64), nan=0.0, posinf=1e100, neginf=-1e100)


def _flat(tensor: Tensor) -> Tensor:
    return np.ascontiguousarray(tensor).reshape(len(tensor), -1)


def read_rows(data: Mapping[str, bytes], specs: Sequence[OutputSpec]) -> dict[str, Tensor]:
    """Return tensors `[rows, *shape]` of the raw bytes of whole rows, by name."""
    return {
        spec.name: np.frombuffer(data[spec.name], dtype=NUMPY_DTYPES[spec.dtype]).reshape(-1, *spec.shape)
        for spec in specs
    }
