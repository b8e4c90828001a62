"""A 95 % interval for a sum of rare, lumpy events: the gamma interval of Fay and Feuer (1997).

What a car has wrong and final is a compound Poisson sum: most cars have none, some have one, a burst has eight at once.
A percentile bootstrap over cars is too narrow there, and says [0, 0] where nothing was seen. The gamma interval weighs
each car's total as one event and never says zero above; it covers at least as often as it says (Fay and Feuer,
Statistics in Medicine 16, 791-801) where it is told how large an event may be. From what was seen alone it cannot know:
with lumps so rare that none is there, its upper end would hold less than half of the time. Cars, not results, are the
events: results of one car depend on each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

_HALF: Final = 0.025


def gamma_interval(sizes: Iterable[float], total: float, *, event_max: float = 1.0) -> tuple[float, float]:
    """Return the interval for sum(sizes) / total; `sizes` are the events' sizes, zeros need not be given.

    `event_max`: how large an event may be, in the unit of `sizes`, though none so large was seen.
    """
    events = [size for size in sizes if size > 0]
    mean, variance, largest = sum(events), sum(size * size for size in events), max([*events, event_max])
    low = _gamma_quantile(_HALF, mean * mean / variance) * variance / mean if events else 0.0
    # One more event of the largest size is what makes the upper end safe.
    mean, variance = mean + largest, variance + largest * largest
    high = _gamma_quantile(1.0 - _HALF, mean * mean / variance) * variance / mean
    return low / total, high / total


def _gamma_quantile(probability: float, shape: float) -> float:
    """Return the quantile of a gamma distribution of scale 1, by bisection."""
    low, high = 0.0, shape + 10.0 * math.sqrt(shape) + 20.0
    for _ in range(80):
        middle = (low + high) / 2.0
        if _gamma_share(shape, middle) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0


def _gamma_share(shape: float, value: float) -> float:
    """Return the regularised lower incomplete gamma function P(shape, value), by its series."""
    if value <= 0.0:
        return 0.0
    term = math.exp(shape * math.log(value) - value - math.lgamma(shape + 1.0))
    total, count = term, shape
    while term > total * 1e-13:
        count += 1.0
        term *= value / count
        total += term
    return min(1.0, total)
