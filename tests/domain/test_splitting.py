"""How rows become units, and units shards."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workunits.domain.splitting import (
    RowCost,
    UnitLimits,
    choose_shard_units,
    choose_unit_rows,
    count_units,
    plan_units,
)

NO_LIMITS = UnitLimits(rows_max=10**9, input_bytes_max=10**15, output_bytes_max=10**15)


def choose(**changes: Any) -> int:
    values: dict[str, Any] = {
        "rows_total": 10**9,
        "cost": RowCost(flops=1_000_000, input_bytes=100, output_bytes=10),
        "car_flops_per_second": 50e9,
        "target_seconds": 2.0,
        "batch_rows": 1,
        "limits": NO_LIMITS,
    }
    return choose_unit_rows(**{**values, **changes})


def test_a_unit_keeps_the_reference_car_busy_for_the_target_time():
    assert choose() == 100_000


def test_a_unit_is_whole_blocks_of_the_batch_size():
    assert choose(batch_rows=64) == 99_968


def test_a_unit_smaller_than_one_block_is_left_as_it_is():
    assert choose(batch_rows=64, target_seconds=0.0004) == 20


def test_a_row_that_takes_longer_than_the_target_is_a_unit():
    assert choose(cost=RowCost(flops=10**15, input_bytes=1, output_bytes=1)) == 1


def test_a_unit_has_no_more_rows_than_the_dataset():
    assert choose(rows_total=10, batch_rows=4) == 10


@pytest.mark.parametrize(
    ("limit", "rows"), [({"rows_max": 500}, 500), ({"input_bytes_max": 1_050}, 10), ({"output_bytes_max": 59}, 5)]
)
def test_each_cap_holds(limit, rows):
    caps = {"rows_max": 10**9, "input_bytes_max": 10**15, "output_bytes_max": 10**15, **limit}
    assert choose(limits=UnitLimits(**caps)) == rows


def test_a_row_larger_than_the_byte_cap_is_still_a_unit():
    assert choose(limits=UnitLimits(rows_max=10, input_bytes_max=99, output_bytes_max=10)) == 1


@given(
    rows_total=st.integers(1, 10**6),
    flops=st.integers(1, 10**13),
    batch_rows=st.integers(1, 256),
    target_seconds=st.floats(0.001, 600),
)
def test_the_choice_is_always_possible_and_whole_blocks_where_it_is_over_one(
    rows_total, flops, batch_rows, target_seconds
):
    cost = RowCost(flops=flops, input_bytes=100, output_bytes=10)
    rows = choose(rows_total=rows_total, cost=cost, batch_rows=batch_rows, target_seconds=target_seconds)
    assert 1 <= rows <= rows_total
    assert rows in (1, rows_total) or rows <= batch_rows or rows % batch_rows == 0


@given(rows_total=st.integers(1, 5_000), unit_rows=st.integers(1, 600))
def test_units_cover_each_row_exactly_once_in_order(rows_total, unit_rows):
    units = list(plan_units(rows_total, unit_rows))
    assert len(units) == count_units(rows_total, unit_rows)
    assert [unit.number for unit in units] == list(range(len(units)))
    assert units[0].row_start == 0
    assert all(unit.row_start + unit.rows == after.row_start for unit, after in pairwise(units))
    assert units[-1].row_start + units[-1].rows == rows_total
    assert {unit.rows for unit in units[:-1]} <= {unit_rows}
    assert 1 <= units[-1].rows <= unit_rows


def test_a_shard_holds_as_many_whole_units_as_fit_and_at_least_one():
    assert choose_shard_units(1_000, 4_000) == 4
    assert choose_shard_units(1_001, 4_000) == 3
    assert choose_shard_units(9_000, 4_000) == 1
