"""Prices are whole microcredits, rounded up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workunits.domain.pricing import price_per_row, reward


def test_a_gigaflop_costs_what_the_policy_says():
    assert price_per_row(1_000_000_000, 1_000) == 1_000


def test_a_part_of_a_microcredit_counts_as_one():
    assert price_per_row(1_000_001, 1_000) == 2
    assert price_per_row(1, 1) == 1


def test_a_row_is_never_free():
    assert price_per_row(0, 1_000) == 1


def test_huge_models_are_priced_exactly():
    assert price_per_row(10**18 + 1, 1_000) == 10**12 + 1


@given(flops=st.integers(1, 10**15), rate=st.integers(1, 10**6))
def test_the_price_is_the_least_whole_number_not_below_the_exact_one(flops, rate):
    price = price_per_row(flops, rate)
    assert price * 10**9 >= flops * rate
    assert (price - 1) * 10**9 < flops * rate


def test_the_reward_of_a_unit_is_the_price_of_its_rows():
    assert reward(7, 64) == 448
