"""How a dataset is cut: rows of one work unit, units of one shard, and which rows each unit has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

# A unit's number is a 32-bit column; this is far below, and keeps the split's one transaction bearable.
UNITS_MAX: Final = 5_000_000


class UnitRange(NamedTuple):
    """Rows `[row_start, row_start + rows)` of the dataset."""

    number: int
    row_start: int
    rows: int


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitLimits:
    """Caps on one unit, whatever its running time would be."""

    rows_max: int
    input_bytes_max: int
    output_bytes_max: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RowCost:
    """What one row costs: the model's counted FLOPs, and its bytes in and out."""

    flops: int
    input_bytes: int
    output_bytes: int


def choose_unit_rows(
    *,
    rows_total: int,
    cost: RowCost,
    car_flops_per_second: float,
    target_seconds: float,
    batch_rows: int,
    limits: UnitLimits,
) -> int:
    """Return how many rows a unit has: as many as keep the reference car busy for `target_seconds`, within the caps.

    A multiple of `batch_rows` (the block the model runs on) where it is larger than one block; 1 to `rows_total`.
    """
    rows = min(
        int(target_seconds * car_flops_per_second / cost.flops),
        limits.rows_max,
        limits.input_bytes_max // max(1, cost.input_bytes),
        limits.output_bytes_max // max(1, cost.output_bytes),
    )
    if rows > batch_rows:
        rows -= rows % batch_rows
    return max(1, min(rows, rows_total))


def plan_units(rows_total: int, unit_rows: int) -> Iterator[UnitRange]:
    """Yield the units in input order; each row is in exactly one, and only the last unit may be shorter."""
    for number, row_start in enumerate(range(0, rows_total, unit_rows)):
        yield UnitRange(number, row_start, min(unit_rows, rows_total - row_start))


def count_units(rows_total: int, unit_rows: int) -> int:
    """Return the length of `plan_units`."""
    return -(-rows_total // unit_rows)


def choose_shard_units(unit_bytes: int, shard_bytes_target: int) -> int:
    """Return how many whole units a shard holds: at least one, and no more than the target where several fit."""
    return max(1, shard_bytes_target // unit_bytes)
