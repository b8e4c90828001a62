"""Scores of classes: how far two rankings differ, how probable shares differ, how close a choice was."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from workunits.domain.comparison.rows import Floats, Mask, divide, floored, root_mean_square

DOUBT: Final = 2.0
TOP_CLASSES: Final = 5
TOP_MISSES_MAX: Final = 1
# A label may flip only where the two classes are this close, in tolerances times the row's root mean square.
MARGIN_TOLERANCES: Final = 2.0
# Shares below carry no digits to rely on: what float32 softmax gives there, kernels cut off in different places.
SHARE_MIN: Final = 1e-30
SHARE_MIN_F16: Final = 1e-4
# All shares of a position together may be off by a quarter of their size, which zeros are by all of it; and by no less
# than four steps of 8 bits.
WHOLE_TOLERANCE: Final = 0.25
WHOLE_SIZE_MIN: Final = 4 / 256
# Scores behind a softmax are measured against their spread, and to no less than one unit of score.
SCORE_SPREAD_MIN: Final = 1.0


def class_distance(x: Floats, y: Floats, finite: Mask, tolerance: float) -> Floats:
    """Return how far rankings differ, for scores `[rows, positions, classes]`.

    A label may flip, and one of the five best may drop out, only near a tie.
    """
    rows, classes = len(x), x.shape[-1]
    if not x.size:
        return np.zeros(rows)
    x, y, finite = x.reshape(-1, classes), y.reshape(-1, classes), finite.reshape(-1, classes)
    scale = floored(root_mean_square(x), root_mean_square(y), classes) * MARGIN_TOLERANCES * tolerance
    # Masked scores (usually -inf) rank last.
    lowest = min(x.min(initial=0.0), y.min(initial=0.0)) - 1.0
    x, y = np.where(finite, x, lowest), np.where(finite, y, lowest)
    top_x, top_y = x.argmax(axis=1)[:, None], y.argmax(axis=1)[:, None]
    gap = np.maximum(_gap(x, top_x, top_y), _gap(y, top_y, top_x))
    distance = divide(gap, scale)
    if classes > TOP_CLASSES:
        distance = np.maximum(distance, _top_five_distance(x, y, scale))
    worst: Floats = distance.reshape(rows, -1).max(axis=1, initial=0.0)
    return worst


def share_distance(x: Floats, y: Floats, tolerance: float) -> Floats:
    """Return the largest difference of a share in each row, in tolerances.

    It contains the rule for labels: two shares that change places differ by no more than twice the largest difference.
    """
    worst: Floats = np.abs(x - y).reshape(len(x), -1).max(axis=1, initial=0.0) / tolerance
    return worst


def whole_distance(x: Floats, y: Floats) -> Floats:
    """Return how far all shares of a position are apart together, for shares `[rows, positions, classes]`.

    Where there are so many classes that a share may be less than the tolerance, zeros would agree with everything.
    """
    size_x, size_y, apart = (np.linalg.norm(each, axis=-1) for each in (x, y, x - y))
    distance = apart / np.maximum(np.maximum(size_x, size_y), WHOLE_SIZE_MIN) / WHOLE_TOLERANCE
    worst: Floats = distance.reshape(len(x), -1).max(axis=1, initial=0.0)
    return worst


def score_distance(x: Floats, y: Floats, tolerance: float, share_min: float) -> Floats:
    """Return how far the scores behind a softmax are apart, for shares `[rows, positions, classes]`.

    A softmax saturates: of a clear case its shares show next to nothing of the scores' last digits, and a cheaper
    precision would pass. Their logarithms are the scores again, up to a constant for each position.
    """
    counts = (x > share_min) | (y > share_min)
    a, b = (np.where(counts, np.log(np.clip(each, share_min, None)), 0.0) for each in (x, y))
    number = np.maximum(counts.sum(axis=-1, keepdims=True), 1)
    a, b = (np.where(counts, each - each.sum(axis=-1, keepdims=True) / number, 0.0) for each in (a, b))
    count = number[..., 0].astype(np.float64)
    spread_a, spread_b, apart = (np.sqrt(np.square(each).sum(axis=-1) / count) for each in (a, b, a - b))
    distance = apart / _usual_spread(spread_a, spread_b) / tolerance
    worst: Floats = distance.reshape(len(x), -1).max(axis=1, initial=0.0)
    return worst


def _usual_spread(a: Floats, b: Floats) -> Floats:
    """Return what differences of scores are measured against, for spreads `[rows, positions]`.

    Rounding errors follow the size of the scores, which their spread at one place may not show: at a tie of two it is
    next to nothing. So the row's own counts as well, and the median; of the two sides the lesser, as for norms.
    """
    if not a.size:
        return a
    usual = np.minimum(root_mean_square(a), root_mean_square(b))
    median = min(np.median(a), np.median(b))
    spread: Floats = np.maximum(np.maximum(a, b), np.maximum(usual[:, None], max(median, SCORE_SPREAD_MIN)))
    return spread


def margins(scores: Floats) -> Floats:
    """Return by how much the best class leads the second, for scores `[..., classes]`; inf where there is no second."""
    if scores.shape[-1] < 2:
        return np.full(scores.shape[:-1], np.inf)
    best = np.partition(scores, scores.shape[-1] - 2, axis=-1)[..., -2:]
    with np.errstate(invalid="ignore"):  # two infinite scores have no margin: NaN
        return np.asarray(best[..., 1] - best[..., 0], dtype=np.float64)


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
    return np.maximum(divide(gap, scale), np.where(misses > TOP_MISSES_MAX, DOUBT, 0.0))


def _is_top(scores: Floats) -> Mask:
    best = np.argsort(-scores, axis=1, kind="stable")[:, :TOP_CLASSES]
    marks = np.zeros(scores.shape, dtype=np.bool_)
    np.put_along_axis(marks, best, np.True_, axis=1)
    return marks


def _preference(scores: Floats, own: Mask, other: Mask) -> Floats:
    best_own = np.where(own, scores, -np.inf).max(axis=1)
    worst_other = np.where(other, scores, np.inf).min(axis=1)
    return np.asarray(best_own - worst_other, dtype=np.float64)
