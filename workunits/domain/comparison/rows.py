"""Distances between rows of numbers: what every comparator is made of."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

# Rows are compared relative to their norm, but to no less than this share of the median norm: rounding errors follow
# the size of what was added up on the way, so a row that happens to cancel to nearly zero must not look like a lie.
NORM_FLOOR_RATIO: Final = 1e-2
# Of a single number that happens all the time, and less with each one more: with `n` of them the share is this over n.
NORM_FLOOR_OF_ONE: Final = 1.0
# A dense map may differ more at single points than on the whole.
DENSE_QUANTILE: Final = 0.999
DENSE_POINT_TOLERANCES: Final = 10.0


def scale_down(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Divide both by their largest magnitude: squares of float64 would overflow or vanish otherwise."""
    largest = max(np.abs(x).max(initial=0.0), np.abs(y).max(initial=0.0))
    return (x / largest, y / largest) if largest > 0 else (x, y)


def floored(norm_x: Floats, norm_y: Floats, width: float) -> Floats:
    """Return what differences are measured against: the larger norm of `width` numbers, but not below the floor.

    The floor takes the lesser median, so that nobody raises it with his own output. Of rows that are not zero: behind a
    ReLU most may be, and one that is zero on one side only is no larger a difference for that.
    """
    ratio = max(NORM_FLOOR_RATIO, NORM_FLOOR_OF_ONE / max(1.0, width))
    floor = ratio * min(_usual(norm_x), _usual(norm_y))
    return np.maximum(np.maximum(norm_x, norm_y), floor)


def _usual(norms: npt.NDArray[Any]) -> float:
    norms = norms[norms > 0]
    return float(np.median(norms)) if norms.size else 0.0


def usual_width(x: Floats, y: Floats) -> float:
    """Return how many numbers of a row are not zero, usually; of the two sides the more, so that nobody lessens it."""
    return max(_usual(np.count_nonzero(x, axis=1)), _usual(np.count_nonzero(y, axis=1)))


def divide(difference: Floats, scale: Any) -> Floats:
    """Divide with 0/0 = 0: two zero rows agree. Anything else over 0 is infinite."""
    with np.errstate(divide="ignore"):
        quotient: Floats = np.divide(difference, scale, out=np.zeros_like(difference), where=difference > 0)
    return quotient


def relative_l2(x: Floats, y: Floats) -> Floats:
    """Return ‖x - y‖ / ‖larger‖ of each row. By the triangle inequality it also bounds the ratio of the norms."""
    norms = floored(np.linalg.norm(x, axis=1), np.linalg.norm(y, axis=1), usual_width(x, y))
    return divide(np.linalg.norm(x - y, axis=1), norms)


def root_mean_square(x: Floats) -> Floats:
    """Return the root mean square over the last axis; 0 where that is empty."""
    if not x.shape[-1]:
        return np.zeros(x.shape[:-1])
    rms: Floats = np.sqrt(np.mean(np.square(x), axis=-1))
    return rms


def point_distance(x: Floats, y: Floats, tolerance: float) -> Floats:
    """Return p99.9 of |x - y| over the row's root mean square, in tolerances (ten are allowed)."""
    if not x.shape[1]:
        return np.zeros(len(x))
    points = np.quantile(np.abs(x - y), DENSE_QUANTILE, axis=1, method="higher")
    size = floored(root_mean_square(x), root_mean_square(y), usual_width(x, y))
    return divide(points, size * DENSE_POINT_TOLERANCES * tolerance)
