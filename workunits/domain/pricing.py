"""What work is worth: integer microcredits from counted FLOPs, never from what a car claims."""

from __future__ import annotations

from typing import Final

FLOPS_PER_GFLOP: Final = 1_000_000_000


def price_per_row(flops_per_row: int, microcredits_per_gflop: int) -> int:
    """Return the microcredits one validated row earns, rounded up: every row is worth at least 1."""
    return max(1, -(-flops_per_row * microcredits_per_gflop // FLOPS_PER_GFLOP))


def reward(price_per_row_microcredits: int, rows: int) -> int:
    """Return what each valid replica of a unit earns; the same for all of them."""
    return price_per_row_microcredits * rows
