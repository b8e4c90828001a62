"""How long a car waits until its next sync: the server sets the pace, so that a fleet never calls in step."""

from __future__ import annotations


def next_sync_seconds(
    *, is_busy: bool, working_seconds: float, idle_seconds: float, jitter_ratio: float, draw: float
) -> float:
    """Return the pace, stretched or shortened by up to `jitter_ratio`. `draw` is uniform in [0, 1)."""
    base = working_seconds if is_busy else idle_seconds
    return base * (1.0 + jitter_ratio * (2.0 * draw - 1.0))
