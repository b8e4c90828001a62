"""Percentiles of measured times, by the nearest rank: a value that was really measured."""

from __future__ import annotations

import math
from collections.abc import Sequence


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` (0 to 1) of the ascending values do not exceed; 0.0 for none."""
    if not ordered:
        return 0.0
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def latency_summary(seconds: Sequence[float]) -> dict[str, float]:
    """Return `p50_ms`, `p95_ms`, `p99_ms` and `max_ms` of some durations."""
    ordered = sorted(seconds)
    summary = {f"p{round(100 * share)}_ms": percentile(ordered, share) for share in (0.5, 0.95, 0.99)}
    summary["max_ms"] = ordered[-1] if ordered else 0.0
    return {name: round(1000.0 * value, 2) for name, value in summary.items()}
