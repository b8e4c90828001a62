"""Lists of detections: matched in any order, padding ignored, and one that is missing excused only at a threshold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workunits.domain.comparison import compare_rows, detections, find_misfits, read_output_specs
from workunits.domain.comparison.boxes import overlap

TOLERANCE = 1e-3
LENGTH = 6


def specs(**options: Any):
    found = read_output_specs(
        [
            {
                "name": "y", "dtype": "F64", "shape": [LENGTH, 6], "comparator": "detections", "tolerance": TOLERANCE,
                "options": options,
            }
        ]
    )  # fmt: skip
    assert find_misfits(found) == []
    return found


def table(*entries: tuple[float, ...], padding: float = 0.0):
    rows = np.full((1, LENGTH, 6), padding)
    for place, entry in enumerate(entries):
        rows[0, place] = entry
    return rows


def compare(first, second, **options: Any) -> float:
    judged = specs(**options)
    (there,), (back,) = (compare_rows({"y": a}, {"y": b}, judged) for a, b in ((first, second), (second, first)))
    assert there == back
    return float(there)


DOG = (10, 10, 60, 60, 0.9, 1)
CAT = (100, 20, 150, 90, 0.8, 2)
BIRD = (200, 200, 230, 240, 0.301, 3)


def test_the_order_of_detections_and_the_content_of_padding_do_not_matter() -> None:
    assert compare(table(DOG, CAT), table(CAT, DOG)) == 0.0
    assert compare(table(DOG, CAT), table(DOG, CAT, padding=-1.0)) == 0.0


def test_a_box_may_be_off_by_a_hundredth_of_its_area_at_the_cap() -> None:
    moved = (10.1, 10, 60.1, 60, 0.9, 1)  # an overlap of 0.996
    assert compare(table(DOG), table(moved)) == pytest.approx((1 - 49.9 / 50.1) / 0.01)
    assert compare(table(DOG), table((15, 10, 65, 60, 0.9, 1))) > 4


def test_a_score_may_be_off_by_the_tolerance() -> None:
    assert compare(table(DOG), table((*DOG[:4], 0.9005, 1))) == pytest.approx(0.5)
    assert compare(table(DOG), table((*DOG[:4], 0.95, 1))) > 4


def test_another_class_is_another_detection() -> None:
    assert compare(table(DOG), table((*DOG[:5], 2))) > 4


def test_a_detection_more_or_less_is_wrong_unless_it_was_nearly_dropped() -> None:
    assert compare(table(DOG, BIRD), table(DOG)) > 4
    assert compare(table(DOG, BIRD), table(DOG), score_threshold=0.3) == pytest.approx(1.0)
    assert compare(table(DOG, (*BIRD[:4], 0.3001, 3)), table(DOG), score_threshold=0.3) == pytest.approx(0.1)


def test_in_a_full_list_the_last_place_may_change() -> None:
    others = [(300 + 20 * place, 0, 310 + 20 * place, 10, 0.5, 1) for place in range(LENGTH - 1)]
    tail = [(10, 10, 60, 60, 0.2, 1), (100, 100, 160, 160, 0.2 + 1e-5, 1)]
    assert compare(table(*others, tail[0]), table(*others, tail[1])) < 1
    # A list is not made full by inventing detections: those have no twin either.
    invented = [(600 + 20 * place, 0, 610 + 20 * place, 10, 0.9, 1) for place in range(LENGTH - 1)]
    assert compare(table(DOG), table(DOG, *invented)) > 4


def test_a_detection_may_fall_to_a_rival_that_overlaps_by_nearly_the_threshold() -> None:
    rival = (0, 0, 100, 100, 0.9, 1)
    victim = (0, 0, 100, 50.01, 0.8, 1)  # overlaps by 0.5001
    far = (0, 0, 100, 30, 0.8, 1)
    assert compare(table(rival, victim), table(rival), iou_threshold=0.5) < 1
    assert compare(table(rival, far), table(rival), iou_threshold=0.5) > 4
    assert compare(table(rival, victim), table(rival)) > 4


def test_what_the_victim_would_have_dropped_is_excused_with_it() -> None:
    rival, victim = (0, 0, 100, 100, 0.9, 1), (0, 0, 100, 50.01, 0.8, 1)
    freed = (0, 0, 100, 35, 0.7, 1)
    assert compare(table(rival, victim), table(rival, freed), iou_threshold=0.5) < 1
    assert compare(table(rival), table(rival, freed), iou_threshold=0.5) > 4


def test_no_more_than_two_of_a_row_are_excused() -> None:
    """Each of these was nearly dropped; that all were is no coincidence."""
    weak = [(50 * place, 0, 50 * place + 20, 20, 0.3001, 1) for place in range(4)]
    assert compare(table(DOG, *weak[:2]), table(DOG), score_threshold=0.3) < 1
    assert compare(table(DOG, *weak), table(DOG), score_threshold=0.3) == 2.0


def test_only_a_rival_with_a_better_score_drops_a_detection() -> None:
    weaker = (0, 0, 100, 100, 0.7, 1)
    victim = (0, 0, 100, 50.01, 0.8, 1)
    assert compare(table(weaker, victim), table(weaker), iou_threshold=0.5) > 4


def test_a_list_filled_with_one_detection_agrees_with_nothing_else() -> None:
    random = np.random.default_rng(5)
    corners = random.uniform(0, 100, size=(LENGTH, 2))
    crowd = [(x, y, x + 60, y + 60, 0.9 - 0.1 * place, 1) for place, (x, y) in enumerate(corners)]
    assert compare(table(*crowd), table(*[crowd[0]] * LENGTH), iou_threshold=0.5) > 2
    assert compare(table(*crowd), table(*[crowd[0]] * LENGTH)) > 4


def test_a_duplicate_has_no_twin() -> None:
    assert compare(table(DOG, CAT), table(DOG, CAT, CAT)) > 4


def test_padding_may_not_look_like_detections() -> None:
    """Whoever reads scores alone would take these for results."""
    hidden = (300, 300, 340, 340, 0.99, -1)
    assert compare(table(DOG, CAT), table(DOG, CAT, hidden)) == np.inf
    assert compare(table(DOG, hidden), table(hidden, DOG)) == 0.0
    filled = [(0, 0, 1, 1, 0.5, -1)] * LENGTH
    assert compare(table(DOG, BIRD, *filled[2:]), table(DOG, *filled[1:]), score_threshold=0.3) == pytest.approx(1.0)


def test_a_box_whose_corners_change_places_is_another_one_unless_it_has_no_extent() -> None:
    turned = (60, 10, 10, 60, 0.9, 1)
    assert compare(table(turned), table(turned)) == 0.0
    assert compare(table(DOG), table(turned)) > 4
    assert compare(table(DOG, CAT), table(CAT, turned)) > 4
    line = (30, 10, 30 + 1e-9, 60, 0.9, 1)
    assert compare(table(DOG, line), table(DOG, (line[2], 10, line[0], *line[3:]))) < 1
    minus = (35, 35, -50, 50, 0.9, 1)
    assert compare(table(minus), table((35, 35, 50, 50, 0.9, 1)), columns="cx cy w h score class") > 4


def test_a_class_that_is_no_whole_number_is_another_class() -> None:
    assert compare(table(DOG), table((*DOG[:5], 1.4))) > 4


def test_long_lists_in_another_order_are_compared_in_no_time_by_the_pairs_that_may_be_twins() -> None:
    random = np.random.default_rng(3)
    length, rows = 1000, 40
    corner, size = random.uniform(0, 600, (rows, length, 2)), random.uniform(5, 60, (rows, length, 2))
    score, kind = random.uniform(0.01, 1, (rows, length, 1)), random.integers(0, 3, (rows, length, 1))
    first = np.concatenate([corner, corner + size, score, kind], axis=2)
    turned, off = random.permuted(np.arange(length)), first.copy()
    off[:, :, 4] += 2 * TOLERANCE
    (judged,) = read_output_specs(
        [{"name": "y", "dtype": "F64", "shape": [length, 6], "comparator": "detections", "tolerance": TOLERANCE}]
    )
    looked_at = 0

    def count(a: Any, b: Any, floor: Any = None) -> Any:
        nonlocal looked_at
        looked_at += a.size // 4 if a.shape == b.shape else a.size * b.size // 16
        return overlap(a, b, floor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detections, "overlap", count)
        assert compare_rows({"y": first}, {"y": first[:, turned]}, [judged]).max() == 0.0
        assert looked_at == 2 * rows * length
        found = compare_rows({"y": first}, {"y": off[:, turned]}, [judged])
        assert found.tolist() == pytest.approx([2.0] * rows)
        assert looked_at < 60 * rows * length


def test_one_wrong_row_among_many_is_found() -> None:
    many = np.repeat(table(DOG, CAT), 200, axis=0)
    spoiled = many.copy()
    spoiled[77, 1, :4] += 30
    found = compare_rows({"y": many}, {"y": spoiled}, specs())
    assert found[77] > 4
    assert found.sum() == found[77]


def test_boxes_without_extent_are_compared_by_their_place() -> None:
    point, other = (10, 10, 10, 10, 0.9, 1), (50, 50, 50, 50, 0.9, 1)
    assert compare(table(DOG, point), table(DOG, point)) == 0.0
    assert compare(table(DOG, point), table(DOG, other)) > 4
    assert compare(table(point), table(other)) > 4


@pytest.mark.parametrize("special", [np.nan, np.inf])
def test_entries_that_are_no_numbers_must_be_the_same_ones(special) -> None:
    broken = (10, special, 60, 60, 0.9, 1)
    assert compare(table(DOG, broken), table(broken, DOG)) == 0.0
    assert compare(table(DOG, broken), table(DOG)) == np.inf
    assert compare(table(DOG, broken), table(DOG, DOG)) == np.inf


def test_huge_boxes_do_not_overflow() -> None:
    huge = (0, 0, 1e300, 1e300, 0.9, 1)
    assert compare(table(huge), table(huge)) == 0.0
    assert compare(table(huge), table(DOG)) > 4


@pytest.mark.parametrize("columns", ["cx cy w h class score", "x y w h class score"])
def test_the_layout_can_be_stated(columns) -> None:
    first, second = table((35, 35, 50, 50, 1, 0.9)), table((35.1, 35, 50, 50, 1, 0.9))
    assert compare(first, second, columns=columns) == pytest.approx((1 - 49.9 / 50.1) / 0.01)


def test_scores_classes_and_count_may_be_outputs_of_their_own() -> None:
    judged = read_output_specs(
        [
            {
                "name": "boxes", "dtype": "F64", "shape": [3, 4], "comparator": "detections", "tolerance": TOLERANCE,
                "options": {"columns": "x1 y1 x2 y2", "scores": "s", "classes": "c", "count": "n"},
            },
            {"name": "s", "dtype": "F64", "shape": [3], "comparator": "dense", "tolerance": 1e-4},
            {"name": "c", "dtype": "I64", "shape": [3], "comparator": "exact", "tolerance": 0},
            {"name": "n", "dtype": "I64", "shape": [], "comparator": "exact", "tolerance": 0},
        ]
    )  # fmt: skip
    assert find_misfits(judged) == []
    boxes = np.array([[DOG[:4], CAT[:4], BIRD[:4]]], "f8")
    first = {"boxes": boxes, "s": np.array([[0.9, 0.8, 0.3]]), "c": np.array([[1, 2, 3]]), "n": np.array([2])}
    turned = [1, 0, 2]
    second = {name: each if name == "n" else each[:, turned] for name, each in first.items()}
    second["s"] = second["s"] + [[0, 0, 5]]  # behind the count
    assert compare_rows(first, second, judged).tolist() == [0.0]
    assert compare_rows(first, {**second, "n": np.array([1])}, judged)[0] > 4
    nothing = {**first, "s": np.array([[0.9, 0.8, 0.0]])}
    assert compare_rows(nothing, {**nothing, "n": np.array([3])}, judged)[0] == np.inf
    beyond, full = {**first, "n": np.array([7])}, {**first, "n": np.array([8])}
    assert compare_rows(beyond, full, judged).tolist() == [0.0], "some graphs count before they cut the list off"
    assert compare_rows(first, {**second, "c": np.array([[2, 3, 1]])}, judged)[0] > 4


entries = st.tuples(
    st.integers(0, 3), st.integers(0, 3), st.integers(0, 4), st.integers(0, 4),
    st.sampled_from([0.0, 0.3, 0.3001, 0.9]), st.sampled_from([-1, 1, 2]),
)  # fmt: skip


@settings(max_examples=60)
@given(a=st.lists(entries, max_size=LENGTH), b=st.lists(entries, max_size=LENGTH), data=st.data())
def test_the_distance_is_symmetric_and_ignores_order(a, b, data) -> None:
    thresholds = {"score_threshold": 0.3, "iou_threshold": 0.5}
    found = compare(table(*a), table(*b), **thresholds)
    assert found >= 0
    shuffled = data.draw(st.permutations(a))
    assert compare(table(*a), table(*shuffled), **thresholds) == 0.0
