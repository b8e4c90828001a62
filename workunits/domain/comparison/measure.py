"""The distance of two documents: each output by the rule of its comparator, and the worst row of the worst output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from workunits.domain.comparison import ranking, rows
from workunits.domain.comparison.detections import MISMATCH_MIN, detection_distance
from workunits.domain.comparison.ranking import DOUBT
from workunits.domain.comparison.rows import Floats, Mask
from workunits.domain.comparison.specs import Comparator, OutputSpec, classes_of
from workunits.domain.comparison.tokens import Companion, not_comparable, token_distance
from workunits.domain.tensors import Tensor, read_tensors

__all__ = [
    "DOUBT",
    "MATCH_MAX",
    "MISMATCH_MIN",
    "compare_rows",
    "compare_tensors",
    "measure_distance",
    "measure_tensors",
]

MATCH_MAX: Final = 1.0
# Of fewer numbers than these nothing tells the usual size, and any of them may have cancelled. Then only a difference
# of a twentieth is a mismatch, and a smaller one a doubt.
NUMBERS_MIN: Final = 8
_TOLERANCE_OF_FEW: Final = 0.05 / MISMATCH_MIN
_BY_NORM: Final = frozenset({Comparator.LOGITS, Comparator.EMBEDDING, Comparator.DENSE})

Tensors = Mapping[str, Tensor]


def measure_distance(first: bytes, second: bytes, specs: Sequence[OutputSpec]) -> float:
    """Return the distance between two documents: the worst of all tensors and rows, in tolerances; inf is possible."""
    return measure_tensors(read_tensors(first), read_tensors(second), specs)


def measure_tensors(first: Tensors, second: Tensors, specs: Sequence[OutputSpec]) -> float:
    """Return the distance between the tensors of two whole units, as `measure_distance` does between documents."""
    distance = float(compare_rows(first, second, specs).max(initial=0.0))
    if distance < MISMATCH_MIN:
        return distance
    lenient = [_spare_few(spec, first[spec.name]) for spec in specs]
    is_sure = lenient == list(specs) or compare_rows(first, second, lenient).max(initial=0.0) >= MISMATCH_MIN
    return distance if is_sure else DOUBT


def _spare_few(spec: OutputSpec, tensor: Tensor) -> OutputSpec:
    kind = spec.options.task if spec.comparator == Comparator.INT8 else spec.comparator
    if kind not in _BY_NORM or spec.tolerance <= 0 or tensor.size >= NUMBERS_MIN:
        return spec
    return replace(spec, tolerance=max(spec.tolerance, _TOLERANCE_OF_FEW))


def compare_tensors(a: Tensor, b: Tensor, spec: OutputSpec) -> float:
    """Return the distance of the worst row between two tensors `[rows, *shape]`, in tolerances."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return np.inf
    return float(compare_rows({spec.name: a}, {spec.name: b}, [spec]).max(initial=0.0))


def compare_rows(first: Tensors, second: Tensors, specs: Sequence[OutputSpec]) -> Floats:
    """Return the distance of each row, in tolerances: that of its worst output. Never NaN; inf is possible."""
    count = len(first[specs[0].name])
    if any(first[spec.name].shape != second[spec.name].shape for spec in specs) or any(
        first[spec.name].dtype != second[spec.name].dtype for spec in specs
    ):
        return np.full(count, np.inf)
    partners = {name for spec in specs if spec.comparator == Comparator.DETECTIONS for name in spec.options.partners}
    a, b = _comparable(first, second, specs)
    worst = np.zeros(count)
    # A difference that float64 cannot hold is infinite, and that is what it is.
    with np.errstate(over="ignore", invalid="ignore"):
        for spec in specs:
            if spec.name not in partners:
                worst = np.maximum(worst, _output_distance(a, b, spec, specs))
    # Infinity over infinity, where scores are huge: NaN would be neither right nor wrong, and so without a penalty.
    return np.where(np.isnan(worst), np.inf, worst)


def _comparable(first: Tensors, second: Tensors, specs: Sequence[OutputSpec]) -> tuple[Tensors, Tensors]:
    """Blank on both sides what a companion says of tokens that follow from different ones."""
    a, b = dict(first), dict(second)
    for spec in specs:
        name = spec.options.companion
        if spec.comparator == Comparator.TOKENS and spec.options.sequential and name in a:
            blank = not_comparable(first[spec.name], second[spec.name], first[name])
            a[name], b[name] = (np.where(blank, each.dtype.type(0), each) for each in (a[name], b[name]))
    return a, b


def _output_distance(a: Tensors, b: Tensors, spec: OutputSpec, specs: Sequence[OutputSpec]) -> Floats:
    equal = _equal_rows(a[spec.name], b[spec.name])
    if spec.comparator == Comparator.DETECTIONS and spec.tolerance > 0:
        return detection_distance(a, b, spec)
    if equal.all():
        return np.zeros(len(equal))
    if spec.comparator == Comparator.EXACT or spec.tolerance <= 0:
        return np.where(equal, 0.0, np.inf)
    if spec.comparator == Comparator.TOKENS:
        judge = next((other for other in specs if other.name == spec.options.companion), None)
        scores = Companion(spec=judge, a=a[judge.name], b=b[judge.name]) if judge is not None else None
        return token_distance(a[spec.name], b[spec.name], spec, scores)
    return np.where(equal, 0.0, _number_distance(a[spec.name], b[spec.name], spec))


def _equal_rows(a: Tensor, b: Tensor) -> Mask:
    """Return which rows are the same to the last bit."""
    size = a[0].nbytes if len(a) else 0
    x, y = (np.ascontiguousarray(each).view(np.uint8).reshape(len(a), size) if size else each for each in (a, b))
    return (x == y).all(axis=1) if size else np.ones(len(a), dtype=np.bool_)


def _number_distance(a: Tensor, b: Tensor, spec: OutputSpec) -> Floats:
    """Return the distance of numbers. NaN and infinities are results too: they have to stand at the same places."""
    x, y = a.reshape(len(a), -1).astype(np.float64), b.reshape(len(b), -1).astype(np.float64)
    finite = np.isfinite(x) & np.isfinite(y)
    special = ((x == y) | (np.isnan(x) & np.isnan(y)) | finite).all(axis=1)
    x, y = np.where(finite, x, 0.0), np.where(finite, y, 0.0)
    comparator = spec.options.task if spec.comparator == Comparator.INT8 else spec.comparator
    if comparator == Comparator.PROBABILITIES:
        distance = _probability_distance(x, y, spec)
    else:
        distance = _vector_distance(x, y, finite, replace(spec, comparator=comparator))
    return np.where(special, distance, np.inf)


def _vector_distance(x: Floats, y: Floats, finite: Mask, spec: OutputSpec) -> Floats:
    x, y = rows.scale_down(x, y)
    distance = rows.relative_l2(x, y) / spec.tolerance
    if spec.comparator == Comparator.DENSE:
        distance = np.maximum(distance, rows.point_distance(x, y, spec.tolerance))
    elif spec.comparator == Comparator.LOGITS:
        a, b, mask = (_classes_last(each, spec) for each in (x, y, finite))
        distance = np.maximum(distance, ranking.class_distance(a, b, mask, spec.tolerance))
    return distance


def _probability_distance(x: Floats, y: Floats, spec: OutputSpec) -> Floats:
    distance = ranking.share_distance(x, y, spec.tolerance)
    a, b = _classes_last(x, spec), _classes_last(y, spec)
    if classes_of(spec) * MISMATCH_MIN * spec.tolerance > 1.0:
        distance = np.maximum(distance, ranking.whole_distance(a, b))
    if spec.options.softmax:
        share_min = ranking.SHARE_MIN_F16 if spec.dtype == "F16" else ranking.SHARE_MIN
        distance = np.maximum(distance, ranking.score_distance(a, b, spec.tolerance, share_min))
    return distance


def _classes_last(flat: Tensor, spec: OutputSpec) -> Tensor:
    """Return rows as `[rows, positions, classes]`."""
    axis = spec.options.axis
    shaped = flat.reshape(len(flat), *(spec.shape or (1,)))
    return np.moveaxis(shaped, axis if axis < 0 else axis + 1, -1).reshape(len(flat), -1, classes_of(spec))
