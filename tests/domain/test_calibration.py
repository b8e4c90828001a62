"""Tolerances: ten times what honest runs differ by, and a fraction of what a cheaper precision does; floor and cap."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workunits.domain.calibration import (
    FULL,
    HALF,
    SAMPLES_TO_NARROW,
    AgreedDistances,
    Calibration,
    choose_tolerance,
    is_comparable,
    learn_tolerance,
    rounding_of,
    tolerance_cap,
    tolerance_floor,
)
from workunits.domain.comparison import MISMATCH_MIN, Comparator

FLOOR, CAP = 1e-5, 1e-4


def choose(observed_max: float, cheaper: float | None = 5e-4) -> float:
    return choose_tolerance(observed_max=observed_max, cheaper=cheaper, floor=FLOOR, cap=CAP)


def present(tolerance: float = 1e-5, cheaper: float | None = 5e-4) -> Calibration:
    return Calibration(tolerance=tolerance, observed_max=1e-7, cheaper=cheaper, samples=32)


def seen(
    operators: float | None = None, auditors: float | None = None, primaries: float | None = None, samples: int = 50
) -> AgreedDistances:
    return AgreedDistances(by_operators=operators, by_auditors=auditors, by_primaries=primaries, samples=samples)


def learn(before: Calibration, distances: AgreedDistances) -> float | None:
    learned = learn_tolerance(before, distances, floor=FLOOR, cap=CAP)
    return None if learned is None else learned.tolerance


def test_it_is_ten_times_what_was_observed() -> None:
    assert choose(3e-6) == pytest.approx(3e-5)


def test_what_one_computer_cannot_show_is_allowed_for() -> None:
    assert choose(0.0) == FLOOR


def test_it_never_exceeds_the_cap() -> None:
    assert choose(3e-5) == CAP


def test_it_goes_below_the_floor_where_a_cheaper_precision_shows_next_to_nothing() -> None:
    assert choose(1e-9, cheaper=1e-6) == pytest.approx(1e-6 / 8)


def test_it_does_not_go_below_what_rounding_of_the_output_itself_makes_different() -> None:
    """A model that hands its input on differs by a digit, in half precision and between honest computers."""
    limits = {"floor": FLOOR, "cap": CAP, "rounding": rounding_of("dense", "F32", FULL)}
    assert choose_tolerance(observed_max=0.0, cheaper=1e-7, **limits) == 1e-6
    many = seen(operators=1e-9, samples=SAMPLES_TO_NARROW)
    learned = learn_tolerance(present(5e-6, cheaper=1e-7), many, **limits)
    assert learned is not None
    assert learned.tolerance == 1e-6
    double, single, half = (rounding_of("dense", *kind) for kind in (("F64", FULL), ("F32", FULL), ("F32", HALF)))
    assert double < 1e-12 < single < FLOOR < half
    assert rounding_of("int8", "F32", FULL) == tolerance_floor("int8", FULL)


def test_a_precision_that_changes_nothing_says_nothing() -> None:
    assert choose(0.0, cheaper=None) == FLOOR


def test_honest_runs_that_differ_by_more_than_half_of_the_cap_cannot_be_compared() -> None:
    assert is_comparable(5e-5, CAP)
    assert not is_comparable(6e-5, CAP)
    assert not is_comparable(float("inf"), CAP)
    assert is_comparable(0.0, 0.0)


def test_a_calibration_says_whether_the_cheaper_precision_is_a_mismatch() -> None:
    assert present(1e-4, cheaper=4e-4).is_separable
    assert not present(1e-4, cheaper=3.9e-4).is_separable
    assert present(1e-4, cheaper=None).is_separable


@pytest.mark.parametrize("precision", [FULL, HALF])
def test_every_comparator_has_its_floor_below_its_cap(precision) -> None:
    for comparator in Comparator:
        assert tolerance_floor(comparator, precision) <= tolerance_cap(comparator, precision)
    assert tolerance_cap("exact", precision) == 0


@given(observed=st.floats(0, 1), cheaper=st.none() | st.floats(0, 1))
def test_a_chosen_tolerance_keeps_a_cheaper_precision_a_mismatch_unless_honest_runs_forbid(observed, cheaper) -> None:
    tolerance = choose(observed, cheaper)
    assert 0 < tolerance <= CAP
    assert tolerance >= min(10 * observed, CAP)
    if cheaper and 10 * observed <= cheaper / 8:
        assert tolerance * MISMATCH_MIN <= cheaper / 2 + 1e-18


def test_an_operators_device_is_believed_alone() -> None:
    assert learn(present(), seen(operators=5e-6)) == pytest.approx(5e-5)


def test_cars_are_believed_where_three_clusters_have_seen_it_on_both_sides() -> None:
    assert learn(present(), seen(auditors=5e-6, primaries=4e-6)) == pytest.approx(4e-5)
    assert learn(present(), seen(auditors=5e-6, primaries=None)) is None
    assert learn(present(), seen()) is None


def test_it_never_learns_beyond_the_cap_or_into_the_cheaper_precision() -> None:
    assert learn(present(), seen(operators=1.0)) == pytest.approx(5e-4 / 8)
    assert learn(present(cheaper=None), seen(operators=1.0)) == CAP


def test_it_narrows_only_after_many_audits_and_never_from_the_cap() -> None:
    assert learn(present(8e-5), seen(operators=2e-6)) is None
    many = seen(operators=2e-6, samples=SAMPLES_TO_NARROW)
    assert learn(present(8e-5), many) == pytest.approx(2e-5)
    assert learn(present(CAP), many) is None


def test_a_small_change_is_none() -> None:
    assert learn(present(1e-5), seen(operators=1.05e-6)) is None


@given(
    tolerance=st.floats(1e-7, CAP), cheaper=st.none() | st.floats(1e-7, 1), believed=st.floats(0, 1e3),
    samples=st.integers(1, 1000),
)  # fmt: skip
def test_what_is_learned_stays_within_its_bounds(tolerance, cheaper, believed, samples) -> None:
    learned = learn(present(tolerance, cheaper), seen(operators=believed, samples=samples))
    if learned is not None:
        assert 0 < learned <= CAP
        if cheaper is not None and learned > tolerance:
            assert learned <= cheaper / 8
