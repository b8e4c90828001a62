"""Sketches: what agrees, what does not, and that the car's code makes the same as the server's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from fleetclient.runner import sketch as client
from workunits.domain.comparison import ComparatorOptions, OutputSpec
from workunits.domain.comparison.options import NO_OPTIONS, TASKS
from workunits.domain.sketch import (
    SKETCH_BYTES,
    SKETCH_MATCH_MAX,
    describe_comparison,
    judge_sketch,
    make_sketch,
    sketch_distance,
)

SALT = bytes(range(16))
FLOAT_COMPARATORS = ["exact", "logits", "probabilities", "embedding", "dense", "detections", "int8"]
DTYPES = {
    "F32": np.float32, "F64": np.float64, "F16": np.float16, "I64": np.int64, "BOOL": np.bool_, "I8": np.int8,
    "U8": np.uint8,
}  # fmt: skip


def spec(
    name: str = "y",
    shape: tuple[int, ...] = (64,),
    comparator: str = "embedding",
    dtype: str = "F32",
    options: ComparatorOptions = NO_OPTIONS,
) -> OutputSpec:
    tolerance = 0.0 if comparator == "exact" else 1e-5
    return OutputSpec(name=name, dtype=dtype, shape=shape, comparator=comparator, tolerance=tolerance, options=options)


def rows_of(count: int, width: int = 64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32) * 3


def distance(mine: np.ndarray, theirs: np.ndarray, one: OutputSpec, *, salt: bytes = SALT) -> float:
    sketch = make_sketch(save({"y": np.ascontiguousarray(theirs)}), [one], salt)
    assert len(sketch) == SKETCH_BYTES
    return sketch_distance(save({"y": mine}), sketch, [one], SALT)


def test_equal_outputs_have_no_distance_and_another_salt_none_that_is_small():
    rows = rows_of(300)
    assert distance(rows, rows, spec()) == 0.0
    assert distance(rows, rows, spec(), salt=bytes(16)) == float("inf")


@pytest.mark.parametrize("count", [1, 16, 300, 1500, 30_000])
def test_rounding_noise_agrees_and_a_cheaper_precision_does_not(count):
    rows = rows_of(count)
    noise = np.random.default_rng(1).standard_normal(rows.shape) * 3e-7
    assert distance(rows, (rows * (1 + 3 * noise)).astype(np.float32), spec()) <= SKETCH_MATCH_MAX
    assert distance(rows, (rows * (1 + noise)).astype(np.float32), spec()) <= SKETCH_MATCH_MAX
    assert distance(rows, rows.astype(np.float16).astype(np.float32), spec()) > 4.0


def test_single_numbers_and_rows_of_zeros_agree_in_spite_of_rounding():
    """Some number is always a thousand times smaller than the others, and a ReLU leaves 1e-8 here and 0 there."""
    numbers = rows_of(5000, 1)
    noise = np.random.default_rng(1).standard_normal(numbers.shape) * 1e-6
    assert distance(numbers, (numbers + noise).astype(np.float32), spec(shape=(1,))) <= SKETCH_MATCH_MAX
    assert distance(numbers, numbers.astype(np.float16).astype(np.float32), spec(shape=(1,))) > 4.0
    rows = rows_of(200)
    rows[:150] = 0.0
    nearly = rows.copy()
    nearly[3, 5] = 1e-8
    assert distance(rows, nearly, spec()) <= SKETCH_MATCH_MAX
    nearly[3, 5] = 1.0
    assert distance(rows, nearly, spec()) > 100.0


@pytest.mark.parametrize("count", [2, 300, 5000])
@pytest.mark.parametrize("change", ["exchanged", "scaled", "negated", "zeroed", "one number"])
def test_a_single_wrong_row_shows_among_thousands(count, change):
    rows = rows_of(count)
    wrong = rows.copy()
    changes = {
        "exchanged": rows[count // 2 - 1], "scaled": rows[count // 2] * 1.01, "negated": -rows[count // 2],
        "zeroed": rows[count // 2] * 0, "one number": rows[count // 2] + np.eye(64, dtype=np.float32)[3] * 0.5,
    }  # fmt: skip
    wrong[count // 2] = changes[change]
    assert distance(rows, wrong, spec()) > 100.0


@pytest.mark.parametrize("comparator", ["dense", "probabilities"])
def test_two_numbers_of_a_row_that_were_exchanged_show_whatever_the_salt(comparator):
    """By signs alone one of four such lies would pass."""
    rows = softmax(rows_of(300)) if comparator == "probabilities" else rows_of(300)
    wrong = rows.copy()
    low, high = (4, int(rows[7].argsort()[-2]))  # never the first choice
    wrong[7, [low, high]] = rows[7, [high, low]]
    one = spec(comparator=comparator)
    for number in range(60):
        salt = number.to_bytes(16)
        sketch = make_sketch(save({"y": wrong}), [one], salt)
        assert sketch_distance(save({"y": rows}), sketch, [one], salt) > SKETCH_MATCH_MAX


def test_all_rows_scaled_alike_show():
    rows = rows_of(300)
    assert distance(rows, rows * np.float32(1.001), spec()) > 4.0
    assert distance(rows, rows * np.float32(2), spec()) > 4.0


def test_a_first_choice_that_differs_is_a_doubt_however_close_the_scores():
    rows = rows_of(200, 10)
    rows[7, 2], rows[7, 5] = 20.0, np.float32(20.0) - np.float32(1e-5)
    swapped = rows.copy()
    swapped[7, 2], swapped[7, 5] = rows[7, 5], rows[7, 2]
    assert distance(rows, swapped, spec(shape=(10,))) <= SKETCH_MATCH_MAX
    assert distance(rows, swapped, spec(shape=(10,), comparator="logits")) == float("inf")


def test_a_first_choice_or_a_label_that_differs_says_nothing_of_how_far_the_numbers_are_off():
    """Whoever is judged by a sketch alone must not be blamed for a near tie."""
    rows = rows_of(200, 10)
    rows[7, 2], rows[7, 5] = 20.0, np.float32(20.0) - np.float32(1e-5)
    swapped = rows.copy()
    swapped[7, 2], swapped[7, 5] = rows[7, 5], rows[7, 2]
    specs = [spec("y", (10,), "logits"), spec("label", (), "exact", "I64")]
    first, second = (save({"y": each, "label": each.argmax(axis=1)}) for each in (rows, swapped))
    agrees, off = judge_sketch(first, make_sketch(second, specs, SALT), specs, SALT)
    assert (agrees, off <= SKETCH_MATCH_MAX) == (False, True)
    wrong = save({"y": -rows, "label": (-rows).argmax(axis=1)})
    agrees, off = judge_sketch(first, make_sketch(wrong, specs, SALT), specs, SALT)
    assert not agrees
    assert 1000 < off < float("inf")


def test_classes_are_where_the_output_s_axis_is():
    rows = np.zeros((5, 3, 4), np.float32)
    rows[:, 1] = 1.0
    rows[2, 2, 3] = np.float32(1 - 1e-6)
    swapped = rows.copy()
    swapped[2, 1, 3], swapped[2, 2, 3] = rows[2, 2, 3], rows[2, 1, 3]
    for axis, wanted in ((0, float("inf")), (-2, float("inf")), (1, None)):
        one = spec(shape=(3, 4), comparator="logits", options=ComparatorOptions(axis=axis))
        found = distance(rows, swapped, one)
        assert found == wanted if wanted else found <= SKETCH_MATCH_MAX, axis


def softmax(scores: np.ndarray) -> np.ndarray:
    raised = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True), np.float32)


def test_a_cheaper_precision_shows_behind_a_softmax_whose_clear_shares_hide_it():
    scores = rows_of(200, 10)
    scores[:, 4] = 30.0
    honest = (scores * (1 + np.random.default_rng(1).standard_normal(scores.shape) * 1e-7)).astype(np.float32)
    cheap = scores.astype(np.float16).astype(np.float32)
    clear, softly = spec(shape=(10,), comparator="probabilities"), ComparatorOptions(softmax=True)
    one = spec(shape=(10,), comparator="probabilities", options=softly)
    assert distance(softmax(scores), softmax(cheap), clear) <= SKETCH_MATCH_MAX, "the shares alone say nothing"
    assert distance(softmax(scores), softmax(cheap), one) > 4.0
    assert distance(softmax(scores), softmax(honest), one) <= SKETCH_MATCH_MAX


def test_a_contract_says_how_an_output_is_compared_as_far_as_a_car_has_to_know():
    softly, across = ComparatorOptions(softmax=True), ComparatorOptions(axis=0)
    assert describe_comparison(spec(comparator="probabilities", options=softly)) == {"comparator": "softmax"}
    assert describe_comparison(spec(comparator="logits", options=across)) == {"comparator": "logits", "axis": 0}
    as_logits = ComparatorOptions(task="logits")
    assert describe_comparison(spec(comparator="int8", options=as_logits)) == {"comparator": "logits"}


@pytest.mark.parametrize("softly", [True, False])
@pytest.mark.parametrize(("shape", "axis"), [((400, 3), -1), ((3, 400), 0)])
def test_a_single_wrong_position_shows_among_thousands(shape, axis, softly):
    """Beside the other positions of its row it would be a twentieth of itself."""
    scores = np.random.default_rng(3).standard_normal((4, *shape)) * 2
    shares = np.moveaxis(softmax(np.moveaxis(scores, 1 if axis == 0 else -1, -1)), -1, 1 if axis == 0 else -1)
    options = ComparatorOptions(axis=axis, softmax=softly)
    one = spec(shape=shape, comparator="probabilities", options=options)
    noise = 1 + np.random.default_rng(1).standard_normal(shares.shape) * 3e-7
    assert distance(shares, (shares * noise).astype(np.float32), one) <= SKETCH_MATCH_MAX
    wrong = shares.copy()
    wrong[2, 1, 1] += np.float32(1e-4)
    assert distance(shares, wrong, one) > 2 * SKETCH_MATCH_MAX


def test_a_softmax_over_more_classes_than_a_chunk_has_numbers_is_looked_at_to_its_end():
    scores = np.random.default_rng(4).standard_normal((2, 70_000)) * 3
    wrong = scores.copy()
    wrong[1, 69_000:69_100] += 0.5
    one = spec(shape=(70_000,), comparator="probabilities", options=ComparatorOptions(softmax=True))
    honest = softmax(scores * (1 + 1e-7 * np.random.default_rng(5).standard_normal(scores.shape)))
    assert distance(softmax(scores), honest, one) <= SKETCH_MATCH_MAX
    assert distance(softmax(scores), softmax(wrong), one) > 100.0
    assert distance(softmax(scores), softmax(scores * 1.001), one) > 4.0


def test_whole_numbers_of_a_quantised_graph_are_sketched_by_distance_and_others_are_not():
    codes = np.random.default_rng(6).integers(-128, 128, (300, 64)).astype(np.int8)
    nearly, wrong = codes.copy(), codes.copy()
    nearly[:, 3] ^= 1
    wrong[7] = codes[8]
    one = OutputSpec(
        name="y", dtype="I8", shape=(64,), comparator="int8", tolerance=5e-2, options=ComparatorOptions(task="dense")
    )
    assert describe_comparison(one) == {"comparator": "dense"}
    assert distance(codes, nearly, one) <= SKETCH_MATCH_MAX
    assert distance(codes, wrong, one) > SKETCH_MATCH_MAX
    assert distance(codes, nearly, spec(dtype="I8", comparator="exact")) == float("inf")
    assert client.sketch_kind("", "I8") == "exact", "an older server says nothing"


def test_shares_that_are_all_below_the_tolerance_agree_with_no_row_that_only_names_the_best():
    shares = softmax(rows_of(2, 1000) / 6)
    assert shares.max() < 0.05
    named = np.where(shares == shares.max(axis=1, keepdims=True), np.float32(1e-3), np.float32(0))
    one = OutputSpec(
        name="y", dtype="F32", shape=(1000,), comparator="int8", tolerance=5e-2,
        options=ComparatorOptions(task="probabilities"),
    )  # fmt: skip
    assert distance(shares, named, one) > SKETCH_MATCH_MAX
    near = softmax(np.log(shares) * (1 + np.random.default_rng(2).standard_normal(shares.shape) * 1e-4))
    assert distance(shares, near, one) <= SKETCH_MATCH_MAX


@pytest.mark.parametrize("value", [1e300, -1e300, np.inf, np.nan])
def test_shares_that_are_none_agree_only_with_themselves(value):
    shares = np.full((5, 3), 1 / 3)
    wrong = shares.copy()
    wrong[2, 1] = value
    for softly in (True, False):
        options = ComparatorOptions(softmax=softly)
        one = spec(shape=(3,), comparator="probabilities", dtype="F64", options=options)
        assert distance(wrong, shares, one) > 4.0
        assert distance(shares, wrong, one) > 4.0
        assert distance(wrong, wrong, one) == 0.0


def test_exact_outputs_have_to_be_equal():
    labels = np.arange(500, dtype=np.int64)
    other = labels.copy()
    other[499] += 1
    one = spec(shape=(), comparator="exact", dtype="I64")
    assert distance(labels, labels, one) == 0.0
    assert distance(labels, other, one) == float("inf")


def test_numbers_that_are_not_finite_have_to_stand_at_the_same_places_with_the_same_sign():
    rows = rows_of(50)
    rows[3, 4] = np.inf
    for value in (-np.inf, np.nan, 1.0):
        other = rows.copy()
        other[3, 4] = value
        assert distance(rows, other, spec()) == float("inf")
    assert distance(rows, rows, spec()) == 0.0


def test_huge_and_tiny_numbers_are_told_apart_as_others_are():
    rows = np.random.default_rng(2).standard_normal((40, 8))
    one = spec(shape=(8,), dtype="F64")
    for factor in (1e-300, 1e-30, 1e30, 1e300):
        scaled, other = rows * factor, rows * factor
        other[7] *= 1.01
        assert distance(scaled, scaled, one) == 0.0
        assert distance(scaled, scaled * (1 + 1e-9), one) <= SKETCH_MATCH_MAX
        assert distance(scaled, other, one) > 100.0


def test_norms_where_a_rounding_could_turn_do_not_part_those_who_agree():
    for row in ([1.0, 0.0], [1.0, 1.0], [0.5, 0.5], [2.0, 2.0]):
        rows = np.array([row] * 9, np.float32)
        assert distance(rows, rows * np.float32(1 + 1.2e-7), spec(shape=(2,))) <= SKETCH_MATCH_MAX
        assert distance(rows, rows * np.float32(1 - 1.2e-7), spec(shape=(2,))) <= SKETCH_MATCH_MAX


def test_a_row_longer_than_a_chunk_is_looked_at_to_its_end():
    rows = rows_of(2, 200_000)
    wrong = rows.copy()
    wrong[1, 150_000:150_100] += 5
    assert distance(rows, wrong, spec(shape=(200_000,))) > 100.0
    assert distance(rows, rows * np.float32(1 + 1.2e-7), spec(shape=(200_000,))) <= SKETCH_MATCH_MAX


@pytest.mark.parametrize("count", [3, 54, 55, 200])
def test_every_one_of_many_outputs_counts(count):
    specs = [spec(f"t{index}", (4,)) for index in range(count)]
    tensors = {one.name: rows_of(3, 4, seed) for seed, one in enumerate(specs)}
    document = save(tensors)
    assert sketch_distance(document, make_sketch(document, specs, SALT), specs, SALT) == 0.0
    for name in ("t0", f"t{count // 2}", f"t{count - 1}"):
        wrong = make_sketch(save(tensors | {name: -tensors[name]}), specs, SALT)
        assert sketch_distance(document, wrong, specs, SALT) > 100.0


@pytest.mark.parametrize("sketch", [b"", bytes(256), b"\x01" * 255, np.full(64, np.nan, ">f4").tobytes()])
def test_what_is_no_sketch_agrees_with_nothing(sketch):
    assert sketch_distance(save({"y": rows_of(4)}), sketch, [spec()], SALT) == float("inf")


def test_numbers_that_are_none_behind_a_right_head_agree_with_nothing():
    document = save({"y": rows_of(4)})
    forged = make_sketch(document, [spec()], SALT)[:40] + np.full(54, np.nan, ">f4").tobytes()
    assert sketch_distance(document, forged, [spec()], SALT) == float("inf")


@st.composite
def outputs(draw: st.DrawFn) -> list[tuple[OutputSpec, np.ndarray]]:
    rows = draw(st.integers(1, 40))
    made: list[tuple[OutputSpec, np.ndarray]] = []
    for index in range(draw(st.integers(1, 3))):
        dtype = draw(st.sampled_from(sorted(DTYPES)))
        others = ["exact", "int8"] if dtype in ("I8", "U8") else ["exact"]
        comparator = draw(st.sampled_from(FLOAT_COMPARATORS if dtype[0] == "F" else others))
        shape = tuple(draw(st.lists(st.integers(0, 5), max_size=3)))
        axis = draw(st.integers(-len(shape), len(shape) - 1)) if shape else -1
        options = ComparatorOptions(axis=axis, softmax=draw(st.booleans()), task=draw(st.sampled_from(TASKS)))
        numbers = np.random.default_rng(draw(st.integers(0, 99))).standard_normal((rows, *shape)) * 10
        if dtype[0] == "F" and numbers.size and draw(st.booleans()):
            numbers.flat[0] = draw(st.sampled_from([np.nan, np.inf, -np.inf, 0.0]))
        made.append((spec(f"t{index}", shape, comparator, dtype, options), np.nan_to_num(numbers).astype(DTYPES[dtype])
                     if dtype[0] != "F" else numbers.astype(DTYPES[dtype])))  # fmt: skip
    return made


@given(made=outputs(), salt=st.binary(min_size=16, max_size=16))
@settings(max_examples=80)
def test_the_car_makes_the_sketch_that_the_server_makes(made, salt):
    specs = [one for one, _ in made]
    document = save({one.name: np.ascontiguousarray(tensor) for one, tensor in made})
    told = [describe_comparison(one) for one in specs]
    sketched = [
        client.SketchedTensor(client.sketch_kind(say["comparator"], one.dtype), tensor, say.get("axis", -1))
        for say, (one, tensor) in zip(told, made, strict=True)
    ]
    sketch = client.sketch_tensors(sketched, salt)
    assert sketch == make_sketch(document, specs, salt)
    assert sketch_distance(document, sketch, specs, salt) == 0.0
