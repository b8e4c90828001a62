"""Probabilities, tokens, labels and 8-bit outputs: what each comparator accepts, and what no cheat gets past it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from workunits.domain.comparison import OptionInvalid, OutputSpec, compare_rows, find_misfits, read_output_specs

RANDOM = np.random.default_rng(11)
TOLERANCE = 1e-3


def output(name: str, comparator: str, *shape: int, dtype: str = "F32", tolerance: float = TOLERANCE, **options: Any):
    described = {"name": name, "dtype": dtype, "shape": list(shape), "comparator": comparator, "tolerance": tolerance}
    return {**described, "options": options} if options else described


def specs_of(*outputs: dict[str, Any]) -> tuple[OutputSpec, ...]:
    specs = read_output_specs(outputs)
    assert find_misfits(specs) == []
    return specs


def compare(first: dict[str, Any], second: dict[str, Any], *outputs: dict[str, Any]) -> list[float]:
    first, second = ({name: np.asarray(each) for name, each in side.items()} for side in (first, second))
    specs = specs_of(*outputs)
    there, back = compare_rows(first, second, specs), compare_rows(second, first, specs)
    assert np.array_equal(there, back)
    return [round(float(each), 6) for each in there]


def softmax(scores):
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)


# -- probabilities ---------------------------------------------------------------------------------------------------


def test_the_largest_difference_of_a_share_counts_not_its_ratio() -> None:
    first, second = [[0.7, 0.2999, 0.0001]], [[0.7, 0.2994, 0.0006]]
    assert compare({"p": first}, {"p": second}, output("p", "probabilities", 3, dtype="F64")) == [0.5]


@pytest.mark.parametrize("positions", [(), (7,)])
def test_zeros_and_another_row_do_not_agree_where_every_share_is_below_the_tolerance(positions) -> None:
    """Across classes of 8-bit arithmetic shares may be off by a twentieth, and each of a thousand is less than that."""
    shape = (*positions, 1000)
    shares = softmax(RANDOM.normal(size=(4, *shape)) * 0.8)
    judged = output("p", "int8", *shape, tolerance=0.05, task="probabilities")
    assert shares.max() < 0.05
    assert min(compare({"p": shares}, {"p": shares * 0}, judged)) >= 4
    assert min(compare({"p": shares}, {"p": shares[::-1]}, judged)) > 2
    steps = np.rint(shares * 256) / np.float32(256)  # an output that is 8 bits itself
    assert max(compare({"p": steps}, {"p": steps + (RANDOM.random(steps.shape) < 1e-3) / np.float32(256)}, judged)) < 4
    near = softmax(np.log(shares) + 0.05 * RANDOM.normal(size=shares.shape))
    assert max(compare({"p": shares}, {"p": near}, judged)) <= 1


def test_a_label_flips_only_near_a_tie() -> None:
    near, far = [[0.5004, 0.4996]], [[0.52, 0.48]]
    judged = output("p", "probabilities", 2, dtype="F64")
    assert compare({"p": near}, {"p": [near[0][::-1]]}, judged) == [0.8]
    assert compare({"p": far}, {"p": [far[0][::-1]]}, judged) == [40.0]


def test_one_wrong_row_among_a_thousand_is_found() -> None:
    shares = softmax(RANDOM.normal(size=(1000, 10)))
    spoiled = shares.copy()
    spoiled[123] = spoiled[123][::-1]
    found = compare({"p": shares}, {"p": spoiled}, output("p", "probabilities", 10))
    assert found[123] > 4
    assert sum(found) == found[123]


def test_a_saturated_softmax_does_not_hide_a_cheaper_precision() -> None:
    # Every share is within 1e-9 of 0 or 1, so no difference of shares could ever show.
    scores = 30 + RANDOM.normal(size=(16, 10)) * 5
    scores[:, 0] += 40
    cheap = scores.astype(np.float16).astype(np.float64)
    honest = scores * (1 + 1e-7 * RANDOM.normal(size=scores.shape))
    plain = output("p", "probabilities", 10, tolerance=1e-5)
    behind = output("p", "probabilities", 10, tolerance=1e-5, softmax=True)
    assert max(compare({"p": softmax(scores)}, {"p": softmax(cheap)}, plain)) < 0.01
    assert min(compare({"p": softmax(scores)}, {"p": softmax(cheap)}, behind)) > 4
    assert max(compare({"p": softmax(scores)}, {"p": softmax(honest)}, behind)) < 1


def test_shares_that_vanish_on_one_side_are_cut_off_alike() -> None:
    first = np.array([[1.0, 0.0, 1e-31]], np.float32)
    second = np.array([[1.0, 1e-38, 0.0]], np.float32)
    assert compare({"p": first}, {"p": second}, output("p", "probabilities", 3, softmax=True)) == [0.0]


def test_the_axis_of_the_classes_can_be_stated() -> None:
    scores = RANDOM.normal(size=(2, 3, 4, 4))
    flipped = scores.copy()
    flipped[1, :, 2, 3] = np.roll(flipped[1, :, 2, 3], 1)
    specs = (output("p", "logits", 3, 4, 4, dtype="F64", axis=0),)
    found = compare({"p": scores}, {"p": flipped}, *specs)
    assert found[0] == 0
    assert found[1] > 4


# -- tokens and labels ------------------------------------------------------------------------------------------------

LOGITS = output("logits", "logits", 4, 6)
TOKENS = output("ids", "tokens", 4, dtype="I64", companion="logits")
LABEL = output("label", "tokens", dtype="I64", companion="scores", sequential=False)
SCORES = output("scores", "logits", 6)


def text(*rows: list[int], tied_at: int | None = None) -> dict[str, Any]:
    """Return ids and scores that choose them; at `tied_at` classes 0 and 1 are nearly tied."""
    ids = np.array(rows)
    scores = np.eye(6, dtype=np.float32)[ids] * 5
    if tied_at is not None:
        scores[:, tied_at, :2] = 5.0
        scores[np.arange(len(ids)), tied_at, ids[:, tied_at]] += 1e-4
    return {"ids": ids, "logits": scores}


def test_equal_tokens_agree() -> None:
    assert compare(text([1, 2, 3, 4]), text([1, 2, 3, 4]), TOKENS, LOGITS) == [0.0]


def test_what_follows_a_divergence_at_a_tie_is_not_judged() -> None:
    (distance,) = compare(text([2, 0, 3, 4], tied_at=1), text([2, 1, 5, 5], tied_at=1), TOKENS, LOGITS)
    assert 0 < distance < 1


def test_a_divergence_away_from_a_tie_is_wrong_even_if_a_tie_comes_later() -> None:
    honest = text([2, 3, 0, 4], tied_at=2)
    (distance,) = compare(honest, text([2, 4, 1, 4], tied_at=2), TOKENS, LOGITS)
    assert distance > 4


def test_nobody_invents_a_tie_where_the_other_side_has_none() -> None:
    cheat = text([2, 1, 5, 5], tied_at=1)
    (distance,) = compare(text([2, 0, 3, 4]), cheat, TOKENS, LOGITS)
    assert distance > 4


def test_scores_before_the_divergence_are_judged_as_ever() -> None:
    honest, other = text([2, 0, 3, 4], tied_at=1), text([2, 1, 5, 5], tied_at=1)
    other["logits"][0, 0, 3] = 2.0
    assert compare(honest, other, TOKENS, LOGITS)[0] > 4


def test_without_a_companion_a_token_that_differs_is_wrong() -> None:
    alone = output("ids", "tokens", 4, dtype="I64")
    assert compare({"ids": [[1, 2, 3, 4]]}, {"ids": [[1, 2, 3, 5]]}, alone) == [np.inf]


def test_of_a_mask_without_its_scores_one_of_a_thousand_may_differ() -> None:
    mask = output("ids", "tokens", 40, 50, dtype="U8", sequential=False)
    first = RANDOM.integers(0, 5, size=(3, 40, 50))
    for number, expected in ((0, 0.0), (2, 1.0), (5, 2.5), (8, 4.0)):
        second = first.copy()
        second[1].reshape(-1)[: 3 * number : 3] += 1
        assert compare({"ids": first}, {"ids": second}, mask) == [0.0, expected, 0.0]
    few = output("ids", "tokens", 999, dtype="U8", sequential=False)
    text = output("ids", "tokens", 2000, dtype="U8")
    for judged, width in ((few, 999), (text, 2000)):
        ids = RANDOM.integers(0, 5, size=(1, width))
        other = ids.copy()
        other[0, -1] += 1
        assert compare({"ids": ids}, {"ids": other}, judged) == [np.inf]


def test_a_companion_may_hold_the_margins_themselves() -> None:
    margin = output("lead", "dense", 4, tolerance=1e-4)
    ids = output("ids", "tokens", 4, dtype="I64", companion="lead", scale=10.0)
    lead = np.array([[5.0, 1e-3, 5.0, 5.0]])
    first, second = np.array([[1, 2, 3, 4]]), np.array([[1, 3, 3, 3]])
    (near,) = compare({"ids": first, "lead": lead}, {"ids": second, "lead": lead}, ids, {**margin, "dtype": "F64"})
    assert near == pytest.approx(1e-3 / (2 * 1e-4 * 10))
    lead = np.array([[5.0, 1.0, 5.0, 5.0]])
    (far,) = compare({"ids": first, "lead": lead}, {"ids": second, "lead": lead}, ids, {**margin, "dtype": "F64"})
    assert far > 4


def test_each_of_independent_choices_is_judged() -> None:
    mask, scores = output("mask", "tokens", 3, dtype="I64", companion="maps", sequential=False), None
    maps = output("maps", "logits", 2, 3, dtype="F64", axis=0)
    scores = np.array([[[5.0, 5.0, 1.0], [5.0 + 1e-6, 1.0, 5.0]]])
    near = {"mask": np.array([[1, 0, 1]]), "maps": scores}
    tied = {"mask": np.array([[0, 0, 1]]), "maps": scores}
    assert 0 < compare(near, tied, mask, maps)[0] < 1
    later = {"mask": np.array([[0, 1, 1]]), "maps": scores}
    assert compare(near, later, mask, maps)[0] > 4


def test_a_label_of_any_name_flips_only_near_a_tie() -> None:
    tied, clear = np.array([[5.0, 5.0 + 1e-5, 0, 0, 0, 0]]), np.array([[5.0, 4.0, 0, 0, 0, 0]])
    scores = {**SCORES, "dtype": "F64"}
    for values, agrees in ((tied, True), (clear, False)):
        sides = ({"label": np.array([label]), "scores": values} for label in (700, 900))
        assert (compare(*sides, LABEL, scores)[0] <= 1) is agrees


def test_a_choice_among_scores_that_are_nearly_nothing_is_measured_by_the_other_rows() -> None:
    scores = np.vstack([np.zeros((1, 6)), np.random.default_rng(1).normal(size=(8, 6)) * 5])
    other = scores.copy()
    other[0, 3] = 1e-9
    first = {"label": scores.argmax(axis=1), "scores": scores}
    second = {"label": other.argmax(axis=1), "scores": other}
    assert max(compare(first, second, LABEL, {**SCORES, "dtype": "F64"})) < 1
    other[0, 3] = 1.0
    assert max(compare(first, second, LABEL, {**SCORES, "dtype": "F64"})) > 4


def test_masked_scores_are_no_rivals() -> None:
    scores = np.array([[5.0, -np.inf, -np.inf, -np.inf, -np.inf, -np.inf]])
    sides = ({"label": np.array([label]), "scores": scores} for label in (0, 1))
    assert compare(*sides, LABEL, {**SCORES, "dtype": "F64"})[0] > 4


def test_margins_that_are_no_numbers_excuse_nothing() -> None:
    scores = np.full((1, 6), np.nan)
    sides = ({"label": np.array([label]), "scores": scores} for label in (0, 1))
    assert compare(*sides, LABEL, {**SCORES, "dtype": "F64"}) == [np.inf]


# -- 8 bits ----------------------------------------------------------------------------------------------------------


def test_8_bit_outputs_go_by_the_rule_of_their_task() -> None:
    scores = np.array([[5.0, 4.9, 0.0]])
    flipped = scores[:, [1, 0, 2]]
    wide = {"dtype": "F64", "tolerance": 0.05}
    assert compare({"y": scores}, {"y": flipped}, {**output("y", "int8", 3), **wide})[0] < 1
    assert compare({"y": scores}, {"y": flipped}, {**output("y", "int8", 3, task="logits"), **wide})[0] < 1
    clear = np.array([[5.0, 4.0, 0.0]])
    tight = {"dtype": "F64", "tolerance": 0.005}
    assert compare({"y": clear}, {"y": clear[:, [1, 0, 2]]}, {**output("y", "int8", 3, task="logits"), **tight})[0] > 4


def test_quantised_integers_are_compared_as_numbers() -> None:
    first = np.full((1, 64), 100, np.uint8)
    second = first.copy()
    second[0, 0] = 101
    (distance,) = compare({"y": first}, {"y": second}, output("y", "int8", 64, dtype="U8", tolerance=0.005))
    assert distance == pytest.approx(1 / np.sqrt(63 * 100**2 + 101**2) / 0.005, rel=1e-3)


# -- rules and options -----------------------------------------------------------------------------------------------


@given(data=st.data(), sequential=st.booleans())
def test_tokens_are_symmetric_and_never_nan(data, sequential) -> None:
    ids = hnp.arrays("i8", (3, 4), elements=st.integers(0, 2))
    scores = hnp.arrays("f4", (3, 4, 3), elements=st.floats(width=32))
    sides = [{"ids": data.draw(ids), "logits": data.draw(scores)} for _ in range(2)]
    specs = (
        output("ids", "tokens", 4, dtype="I64", companion="logits", sequential=sequential),
        output("logits", "logits", 4, 3),
    )
    found = compare(*sides, *specs)
    assert all(each >= 0 for each in found)


@given(data=st.data(), softmax=st.booleans())
def test_probabilities_are_symmetric_never_nan_and_zero_to_themselves(data, softmax) -> None:
    shares = hnp.arrays("f4", (2, 5), elements=st.floats(width=32))
    a, b = data.draw(shares), data.draw(shares)
    judged = output("p", "probabilities", 5, softmax=softmax)
    assert all(each >= 0 for each in compare({"p": a}, {"p": b}, judged))
    assert compare({"p": a}, {"p": a.copy()}, judged) == [0.0, 0.0]


@pytest.mark.parametrize(
    ("comparator", "options", "complaint"),
    [
        ("dense", {"axis": 1}, "knows no option 'axis'; it has none"),
        ("logits", {"axes": 1}, "knows no option 'axes'; it knows axis"),
        ("logits", {"axis": True}, "axis must be an axis"),
        ("probabilities", {"softmax": 1}, "softmax must be true or false"),
        ("tokens", {"companion": ""}, "companion must be the name of an output"),
        ("tokens", {"scale": float("nan")}, "scale must be a number above 0"),
        ("int8", {"task": "tokens"}, "task must be one of logits"),
        ("detections", {"iou_threshold": float("nan")}, "iou_threshold must be a number from 0 to 1"),
        ("detections", {"columns": "x1 y1 x2 y2"}, "'score' must be one of the columns"),
        ("detections", {"columns": "x1 y1 x2 score class"}, "columns must name a box"),
        ("detections", {"columns": "x1 y1 x2 y2 score class colour"}, "not 'colour'"),
        ("detections", {"columns": 6}, "columns must be a text"),
    ],
)
def test_an_option_that_makes_no_sense_is_named(comparator, options, complaint) -> None:
    with pytest.raises(OptionInvalid, match=complaint):
        read_output_specs([{**output("y", comparator, 6), "options": options}])


def test_options_must_be_an_object() -> None:
    with pytest.raises(OptionInvalid, match="options must be a JSON object"):
        read_output_specs([{**output("y", "logits", 6), "options": ["axis"]}])


@pytest.mark.parametrize(
    ("outputs", "complaint"),
    [
        ([output("y", "logits", 3, dtype="I64")], "for floats, and the output is I64"),
        ([output("y", "tokens", 3)], "for whole numbers, and the output is F32"),
        ([output("y", "tokens", 3, dtype="I64", companion="z")], "names 'z', which is none of the other outputs"),
        ([output("y", "tokens", 3, dtype="I64", companion="y")], "none of the other outputs"),
        ([output("y", "tokens", 3, dtype="I64", companion="s"), output("s", "logits", 7)], r"for each of 3 choices"),
        ([output("y", "tokens", dtype="I64", companion="s"), output("s", "embedding", 7)], "gives no margin"),
        ([output("y", "detections", 5, 7)], r"floats \[n, 6\], not F32 \[5, 7\]"),
        ([output("y", "detections", 8400, 6)], "8400 detections a row are more than 1000"),
        ([output("y", "logits", 3, 4, axis=2)], "axis 2 is none of a row's 2 axes"),
    ],
)
def test_a_comparator_that_cannot_judge_an_output_says_why(outputs, complaint) -> None:
    import re

    ((name, sentence), *_) = find_misfits(read_output_specs(outputs))
    assert name == "y"
    assert re.search(complaint, sentence)


def test_scores_too_large_to_square_make_no_distance_that_is_no_number() -> None:
    largest = np.finfo(np.float64).max
    first = {"t": np.array([[1]]), "s": np.array([[[0.1, 0.9]]])}
    huge = {"t": np.array([[0]]), "s": np.array([[[largest, -largest]]])}
    outputs = (output("t", "tokens", 1, dtype="I64", companion="s"), output("s", "logits", 1, 2, dtype="F64"))
    assert compare(first, huge, *outputs) == [np.inf]
