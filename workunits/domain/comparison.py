"""How far two outputs of one work unit are apart, in units of the tolerance: at most 1 agrees, at least 4 does not.

In: two safetensors documents that passed `tensors.check_document`. Out: one number, the worst row of the worst tensor.
Symmetric in its arguments, so that a verdict cannot depend on which output came first. The rules follow the measured
spread of honest devices (relative L2 of fp32 below 1e-5 across instruction sets; a cheaper precision is above 5e-4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from workunits.domain.tensors import Tensor, read_tensors
from workunits.domain.types import TensorSpec

Floats = npt.NDArray[np.float64]

MATCH_MAX: Final = 1.0
MISMATCH_MIN: Final = 4.0
DOUBT: Final = 2.0
TOP_CLASSES: Final = 5
TOP_MISSES_MAX: Final = 1
# Rows are compared relative to their norm, but to no less than this share of the median norm: rounding errors follow
# the size of what was added up on the way, so a row that happens to cancel to nearly zero must not look like a lie.
NORM_FLOOR_RATIO: Final = 1e-2
# A dense map may differ more at single points than on the whole.
DENSE_QUANTILE: Final = 0.999
DENSE_POINT_TOLERANCES: Final = 10.0
# A label may flip only where the two classes are this close, in tolerances times the row's root mean square.
MARGIN_TOLERANCES: Final = 2.0


class Comparator(StrEnum):
    """What an output is, and so how two of them are compared."""

    EXACT = "exact"  # labels, integers, booleans: equal to the last bit
    LOGITS = "logits"  # scores of classes on the last axis: relative L2, and labels may flip only near a tie
    EMBEDDING = "embedding"  # vectors: relative L2, which also bounds the ratio of the norms
    DENSE = "dense"  # maps and regressions: relative L2, and no point may be far off


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputSpec(TensorSpec):
    """An output of a model and how it is judged. `tolerance` is a relative L2 distance; 0 asks for equal bits."""

    comparator: str
    tolerance: float


def read_output_specs(outputs: Sequence[Mapping[str, Any]]) -> tuple[OutputSpec, ...]:
    """Return the specs in a model's `outputs` column."""
    return tuple(
        OutputSpec(
            name=output["name"],
            dtype=output["dtype"],
            shape=tuple(output["shape"]),
            comparator=Comparator(output["comparator"]),
            tolerance=float(output["tolerance"]),
        )
        for output in outputs
    )


def measure_distance(first: bytes, second: bytes, specs: Sequence[OutputSpec]) -> float:
    """Return the distance between two documents: the worst of all tensors and rows, in tolerances; inf is possible."""
    tensors_a, tensors_b = read_tensors(first), read_tensors(second)
    return max(compare_tensors(tensors_a[spec.name], tensors_b[spec.name], spec) for spec in specs)


def compare_tensors(a: Tensor, b: Tensor, spec: OutputSpec) -> float:
    """Return the distance of the worst row between two tensors `[rows, *shape]`, in tolerances."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return np.inf
    if a.tobytes() == b.tobytes():
        return 0.0
    if spec.comparator == Comparator.EXACT or spec.tolerance <= 0:
        return np.inf
    x, y = a.reshape(len(a), -1).astype(np.float64), b.reshape(len(b), -1).astype(np.float64)
    finite = np.isfinite(x)
    # NaN and infinities are results too: they have to stand at the same places, with the same sign.
    if not np.array_equal(x[~finite], y[~finite], equal_nan=True) or not np.array_equal(finite, np.isfinite(y)):
        return np.inf
    x, y = _scale(np.where(finite, x, 0.0), np.where(finite, y, 0.0))
    distance = _relative_l2(x, y) / spec.tolerance
    if spec.comparator == Comparator.DENSE:
        distance = np.maximum(distance, _point_distance(x, y, spec.tolerance))
    elif spec.comparator == Comparator.LOGITS:
        distance = np.maximum(distance, _class_distance(x, y, finite, spec))
    return float(distance.max(initial=0.0))


def _scale(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Divide both by their largest magnitude: squares of float64 would overflow or vanish otherwise."""
    largest = max(np.abs(x).max(initial=0.0), np.abs(y).max(initial=0.0))
    return (x / largest, y / largest) if largest > 0 else (x, y)


def _floored(norm_x: Floats, norm_y: Floats) -> Floats:
    """Return what differences are measured against: the larger norm, but not below the floor.

    The floor takes the lesser median, so that nobody raises it with his own output.
    """
    floor = NORM_FLOOR_RATIO * min(np.median(norm_x), np.median(norm_y))
    return np.maximum(np.maximum(norm_x, norm_y), floor)


def _divide(difference: Floats, scale: Floats) -> Floats:
    """Divide with 0/0 = 0: two zero rows agree."""
    quotient: Floats = np.divide(difference, scale, out=np.zeros_like(difference), where=difference > 0)
    return quotient


def _relative_l2(x: Floats, y: Floats) -> Floats:
    """Return ‖x - y‖ / ‖larger‖ of each row. By the triangle inequality it also bounds the ratio of the norms."""
    norms = _floored(np.linalg.norm(x, axis=1), np.linalg.norm(y, axis=1))
    return _divide(np.linalg.norm(x - y, axis=1), norms)


def _rms(x: Floats) -> Floats:
    rms: Floats = np.sqrt(np.mean(np.square(x), axis=-1))
    return rms


def _point_distance(x: Floats, y: Floats, tolerance: float) -> Floats:
    """Return p99.9 of |x - y| over the row's root mean square, in tolerances (ten are allowed)."""
    points = np.quantile(np.abs(x - y), DENSE_QUANTILE, axis=1, method="higher")
    return _divide(points, _floored(_rms(x), _rms(y)) * DENSE_POINT_TOLERANCES * tolerance)


def _class_distance(x: Floats, y: Floats, finite: npt.NDArray[np.bool_], spec: OutputSpec) -> Floats:
    """Return how far the rankings differ: a label may flip, and one of five may drop out, only near a tie."""
    rows, classes = len(x), spec.shape[-1] if spec.shape else 1
    x, y, finite = x.reshape(-1, classes), y.reshape(-1, classes), finite.reshape(-1, classes)
    scale = np.maximum(_rms(x), _rms(y)) * MARGIN_TOLERANCES * spec.tolerance
    # Masked scores (usually -inf) rank last.
    lowest = min(x.min(initial=0.0), y.min(initial=0.0)) - 1.0
    x, y = np.where(finite, x, lowest), np.where(finite, y, lowest)
    top_x, top_y = x.argmax(axis=1)[:, None], y.argmax(axis=1)[:, None]
    gap = np.maximum(_gap(x, top_x, top_y), _gap(y, top_y, top_x))
    distance = _divide(gap, scale)
    if classes > TOP_CLASSES:
        distance = np.maximum(distance, _top_five_distance(x, y, scale))
    worst: Floats = distance.reshape(rows, -1).max(axis=1, initial=0.0)
    return worst


def _gap(scores: Floats, own: npt.NDArray[np.intp], other: npt.NDArray[np.intp]) -> Floats:
    """Return by how much a row's scores prefer their `own` class to the `other` side's."""
    preferred = np.take_along_axis(scores, own, 1) - np.take_along_axis(scores, other, 1)
    return np.asarray(preferred[:, 0], dtype=np.float64)


def _top_five_distance(x: Floats, y: Floats, scale: Floats) -> Floats:
    in_x, in_y = _is_top(x), _is_top(y)
    only_x, only_y = in_x & ~in_y, in_y & ~in_x
    misses = only_x.sum(axis=1)
    # How clearly each side prefers what only it has among its five to what only the other has.
    gap = np.maximum(_preference(x, only_x, only_y), _preference(y, only_y, only_x))
    gap[misses == 0] = 0.0
    return np.maximum(_divide(gap, scale), np.where(misses > TOP_MISSES_MAX, DOUBT, 0.0))


def _is_top(scores: Floats) -> npt.NDArray[np.bool_]:
    best = np.argsort(-scores, axis=1, kind="stable")[:, :TOP_CLASSES]
    marks = np.zeros(scores.shape, dtype=np.bool_)
    np.put_along_axis(marks, best, np.True_, axis=1)
    return marks


def _preference(scores: Floats, own: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> Floats:
    best_own = np.where(own, scores, -np.inf).max(axis=1)
    worst_other = np.where(other, scores, np.inf).min(axis=1)
    return np.asarray(best_own - worst_other, dtype=np.float64)
