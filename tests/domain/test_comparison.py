"""Distances between outputs, in tolerances: at most 1 agrees, at least 4 does not."""

from __future__ import annotations

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from workunits.domain.comparison import (
    DOUBT,
    Comparator,
    OutputSpec,
    compare_tensors,
    measure_distance,
    read_output_specs,
)

TOLERANCE = 1e-4
RANDOM = np.random.default_rng(7)
FLOAT_COMPARATORS = (Comparator.LOGITS, Comparator.EMBEDDING, Comparator.DENSE, Comparator.INT8)


def spec(comparator: str, shape: tuple[int, ...], tolerance: float = TOLERANCE, dtype: str = "F64") -> OutputSpec:
    return OutputSpec(name="y", dtype=dtype, shape=shape, comparator=comparator, tolerance=tolerance)


def distance(a, b, comparator: str, tolerance: float = TOLERANCE) -> float:
    a, b = np.asarray(a, "f8"), np.asarray(b, "f8")
    return compare_tensors(a, b, spec(comparator, a.shape[1:], tolerance))


def test_exact_outputs_are_equal_to_the_last_bit_or_not_at_all():
    labels = np.array([1, 2, 3])
    assert compare_tensors(labels, labels.copy(), spec("exact", (), 0, "I64")) == 0.0
    assert compare_tensors(labels, np.array([1, 2, 4]), spec("exact", (), 0, "I64")) == np.inf


@pytest.mark.parametrize("comparator", FLOAT_COMPARATORS)
def test_a_tolerance_of_zero_asks_for_equal_bits(comparator):
    assert distance([[1.0, 2.0]], [[1.0, 2.0 + 1e-15]], comparator, 0.0) == np.inf


@pytest.mark.parametrize("comparator", FLOAT_COMPARATORS)
def test_the_distance_is_the_relative_l2_over_the_tolerance(comparator):
    assert distance([[3.0, 4.0]], [[3.0, 4.001]], comparator) == pytest.approx(0.001 / 5.0008 / TOLERANCE, rel=1e-6)


def test_the_worst_row_counts():
    good, bad = [1.0, 0.0], [1.0, 0.0]
    assert distance([good, bad], [good, [1.001, 0.0]], "embedding") == pytest.approx(0.001 / 1.001 / TOLERANCE)


def test_the_worst_tensor_counts():
    specs = (
        OutputSpec(name="a", dtype="F64", shape=(2,), comparator="embedding", tolerance=1e-4),
        OutputSpec(name="b", dtype="I64", shape=(), comparator="exact", tolerance=0),
    )
    first = {"a": np.ones((1, 2)), "b": np.array([5])}
    second = {"a": np.ones((1, 2)) * 1.00005, "b": np.array([5])}
    third = {**second, "b": np.array([6])}
    documents = [safetensors.numpy.save(tensors) for tensors in (first, second, third)]
    assert 0.4 < measure_distance(documents[0], documents[1], specs) < 0.6
    assert measure_distance(documents[1], documents[2], specs) == np.inf


@pytest.mark.parametrize("comparator", FLOAT_COMPARATORS)
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_special_values_agree_only_at_the_same_places(comparator, special):
    a = np.array([[1.0, special, 2.0]])
    assert distance(a, a * np.array([1.0, 1.0, 1.0 + 1e-6]), comparator) < 1
    assert distance(a, [[1.0, 0.0, 2.0]], comparator) == np.inf
    assert distance(a, [[special, 1.0, 2.0]], comparator) == np.inf


def test_infinities_of_opposite_sign_differ():
    assert distance([[1.0, np.inf]], [[1.0, -np.inf]], "dense") == np.inf


@pytest.mark.parametrize("comparator", FLOAT_COMPARATORS)
def test_zero_rows_agree_with_zero_rows_and_with_nothing_else(comparator):
    zero, some = [[0.0, 0.0]], [[0.0, 1e-30]]
    assert distance([[0.0, -0.0]], zero, comparator) == 0.0
    assert distance(zero, some, comparator) >= 4


def test_a_row_that_cancels_to_nearly_zero_is_measured_by_the_other_rows():
    rows = np.ones((9, 4))
    nearly, other = rows.copy(), rows.copy()
    nearly[0], other[0] = 1e-9, 2e-9
    assert distance(nearly, other, "dense") < 1
    other[0] = 1e-3
    assert distance(nearly, other, "dense") > 4


@pytest.mark.parametrize("comparator", FLOAT_COMPARATORS)
def test_a_row_that_is_zero_on_one_side_only_is_measured_by_those_that_are_not_zero(comparator):
    """Behind a ReLU most rows are zero, and which side of zero one falls on is a matter of rounding."""
    rows = np.zeros((9, 4))
    rows[:3] = np.random.default_rng(1).random((3, 4)) + 1
    nearly = rows.copy()
    nearly[7, 2] = 1e-8
    assert 0 < distance(rows, nearly, comparator) < 1
    nearly[7, 2] = 1e-2
    assert distance(rows, nearly, comparator) > 4


@pytest.mark.parametrize("width", [1, 2, 3, 5])
def test_few_numbers_a_row_cancel_often_and_blame_nobody(width):
    """Rounding follows the usual size of an output, and one number in a thousand is a thousand times smaller."""
    random = np.random.default_rng(width)
    rows = random.normal(size=(100_000, width))
    other = rows + random.normal(size=rows.shape) * 4e-7
    half = rows.astype(np.float16).astype(float)
    judged = spec("logits", (width,), 1e-5)
    for first in range(0, len(rows), 10_000):
        part = slice(first, first + 10_000)
        assert compare_tensors(rows[part], other[part], judged) <= 1
        assert compare_tensors(rows[part][:16], half[part][:16], judged) >= 4
    wrong = rows[:16].copy()
    wrong[np.abs(wrong).sum(axis=1).argmin()] *= -1
    assert compare_tensors(rows[:16], wrong, judged) >= 4


def test_a_row_of_which_only_one_number_is_not_zero_is_as_short_as_that():
    random = np.random.default_rng(8)
    before = random.normal(size=(100_000, 10)) - 2
    rows, other = np.maximum(before, 0), np.maximum(before + random.normal(size=before.shape) * 4e-7, 0)
    assert compare_tensors(rows, other, spec("dense", (10,), 1e-5)) <= 1
    sparse = np.where(np.arange(10) == 3, other, 0)  # nobody makes rows short with his own output
    full = np.random.default_rng(9).normal(size=(1000, 10))
    full[5] *= 1e-2
    wrong = full * (np.arange(10) == 3)
    wrong[5] = 0
    assert compare_tensors(full, wrong, spec("dense", (10,), 1e-5)) > 4
    assert compare_tensors(rows, sparse, spec("dense", (10,), 1e-5)) > 4


def test_of_a_single_number_only_a_large_difference_is_a_mismatch():
    """Nothing tells whether it has cancelled; a doubt is settled by an anchor, and blames nobody."""
    judged = [spec("dense", (1,), 1e-5)]
    for number, other, expected in (
        (1e-3, 1e-3 + 1e-7, DOUBT),
        (1.0, 1.04, DOUBT),
        (1.0, 1.06, np.inf),
        (1.0, 0.0, np.inf),
    ):
        first, second = (safetensors.numpy.save({"y": np.array([[each]])}) for each in (number, other))
        for found in (measure_distance(first, second, judged), measure_distance(second, first, judged)):
            assert found == expected if expected == DOUBT else found >= 4
    many = [spec("dense", (8,), 1e-5)]
    first, second = (safetensors.numpy.save({"y": np.full((1, 8), each)}) for each in (1.0, 1.001))
    assert measure_distance(first, second, many) >= 4


def test_nobody_raises_the_floor_with_his_own_output():
    honest = np.vstack([np.full((1, 4), 1e-3), np.ones((2, 4))])
    liar = np.vstack([np.full((1, 4), 2e-3), np.full((2, 4), 1e9)])
    assert distance(honest, liar, "embedding") > 4


def test_a_label_may_flip_only_near_a_tie():
    tie = np.array([[5.0, 5.0 + 1e-5, 0.0]])
    flipped = np.array([[5.0 + 1e-5, 5.0, 0.0]])
    assert distance(tie, flipped, "logits") < 1
    # As far in L2, but the margin was ten times what is allowed.
    rms = np.sqrt(np.mean(np.square([5.0, 4.9, 0.0])))
    clear = np.array([[5.0, 5.0 - 20 * TOLERANCE * rms, 0.0]])
    assert distance(clear, clear[:, [1, 0, 2]], "logits") > 4
    assert distance(clear, clear[:, [1, 0, 2]], "embedding") > 4


def test_a_flip_within_a_loose_l2_tolerance_is_still_caught():
    # With 1,000 classes a few large scores hide in the norm: L2 alone would accept the flip.
    scores = RANDOM.normal(size=(1, 1000))
    scores[0, :2] = 5.0, 4.98
    flipped = scores[:, [1, 0, *range(2, 1000)]]
    assert distance(scores, flipped, "embedding", 1e-3) < 1
    assert distance(scores, flipped, "logits", 1e-3) > 4


def test_one_of_the_five_best_may_drop_out_near_a_tie_and_two_are_a_doubt():
    scores = np.array([[9.0, 8.0, 7.0, 6.0, 5.0, 5.0 - 1e-6, 5.0 - 2e-6, 0.0]])
    one = scores.copy()
    one[0, 4], one[0, 5] = scores[0, 5], scores[0, 4]
    assert distance(scores, one, "logits") < 1
    two = np.array([[9.0, 8.0, 7.0, 6.0, 6.0, 6.0, 6.0, 0.0]])
    swapped = two.copy()
    swapped[0, 3:7] = [6.0 - 2e-6, 6.0 - 1e-6, 6.0, 6.0 - 0.5e-6]
    assert 1 < distance(two, swapped, "logits") < 4


def test_sequences_of_logits_are_ranked_at_each_position():
    scores = RANDOM.normal(size=(2, 5, 10))
    flipped = scores.copy()
    best = flipped[1, 3].argmax()
    flipped[1, 3, (best + 1) % 10] = flipped[1, 3, best] + 1
    assert distance(scores, scores + 1e-9, "logits") < 1
    assert distance(scores, flipped, "logits") > 4


def test_a_dense_map_may_not_hide_one_point_that_is_far_off():
    pixels = RANDOM.normal(size=(1, 500))
    spoiled = pixels.copy()
    spoiled[0, 77] += 0.05
    assert distance(pixels, spoiled, "dense", 5e-3) == pytest.approx(
        0.05 / np.sqrt(np.mean(spoiled**2)) / (10 * 5e-3), rel=0.1
    )


def test_scores_of_one_class_and_scalars_are_handled():
    assert compare_tensors(np.array([1.0]), np.array([1.0 + 1e-6]), spec("logits", ())) < 1
    assert compare_tensors(np.array([[1.0]]), np.array([[2.0]]), spec("logits", (1,))) > 4


def test_half_precision_on_a_full_precision_contract_is_a_mismatch():
    values = RANDOM.normal(size=(8, 384))
    assert distance(values, values.astype("f2").astype("f8"), "embedding", 2e-5) > 4


def test_huge_and_tiny_doubles_neither_overflow_nor_vanish():
    assert distance([[1e200, 1e200]], [[1e200, 1e200 * (1 + 1e-6)]], "dense") < 1
    assert distance([[1e-200, 1e-200]], [[1e-200, 2e-200]], "dense") > 4


def test_different_shapes_or_dtypes_never_agree():
    a = np.ones((2, 2), "f4")
    assert compare_tensors(a, np.ones((2, 1), "f4"), spec("dense", (2,))) == np.inf
    assert compare_tensors(a, a.astype("f8"), spec("dense", (2,))) == np.inf


@pytest.mark.parametrize("comparator", [each for each in Comparator if each != Comparator.DETECTIONS])
@given(data=st.data())
def test_the_distance_is_symmetric_never_nan_and_zero_to_itself(comparator, data):
    shape = data.draw(hnp.array_shapes(min_dims=2, max_dims=3, max_side=7))
    floats = hnp.arrays("f4", shape, elements=st.floats(width=32))
    a, b = data.draw(floats), data.draw(floats)
    judged = spec(comparator, shape[1:], dtype="F32")
    there, back = compare_tensors(a, b, judged), compare_tensors(b, a, judged)
    assert there == back
    assert there >= 0
    assert compare_tensors(a, a.copy(), judged) == 0.0


def test_the_specs_come_from_a_models_outputs():
    column = [{"name": "y", "dtype": "F32", "shape": [4], "comparator": "dense", "tolerance": 0.001}]
    assert read_output_specs(column) == (spec("dense", (4,), 0.001, "F32"),)


def test_an_unknown_comparator_is_refused():
    with pytest.raises(ValueError, match="cosine"):
        read_output_specs([{"name": "y", "dtype": "F32", "shape": [], "comparator": "cosine", "tolerance": 1}])
