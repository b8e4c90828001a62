"""Where outputs differ, in few rows and values."""

from __future__ import annotations

import numpy as np
import pytest

from workunits.domain.comparison import OutputSpec, compare_rows, read_output_specs
from workunits.domain.differences import FIRST_ROWS, POINTS, WORST_ROWS, describe_differences

DENSE = OutputSpec(name="map", dtype="F32", shape=(2, 3), comparator="dense", tolerance=1e-3)
LABEL = OutputSpec(name="label", dtype="I64", shape=(), comparator="exact", tolerance=0.0)


def always(specs: tuple[OutputSpec, ...]):
    """Compare any two sides in the same way."""
    return lambda _first, _second: specs


def outputs(rows: int, **changes: float) -> dict[str, np.ndarray]:
    """Return tensors of so many rows; a change `row_3=0.5` adds that to the last value of the row."""
    maps = np.ones((rows, 2, 3), np.float32)
    for name, added in changes.items():
        maps[int(name.removeprefix("row_")), 1, 2] += added
    return {"map": maps, "label": np.zeros(rows, np.int64)}


def test_equal_outputs_have_no_rows_and_no_points():
    differences = describe_differences({"a": outputs(3), "b": outputs(3)}, always((DENSE, LABEL)))
    assert [(each.rows_differing, each.rows, each.points) for each in differences] == [(0, [], []), (0, [], [])]
    assert [pair.verdict for each in differences for pair in each.distances] == ["agrees", "agrees"]


def test_what_is_said_of_a_single_number_is_what_the_verdict_says():
    one = OutputSpec(name="y", dtype="F32", shape=(), comparator="dense", tolerance=1e-5)
    sides = {"a": {"y": np.array([1.0], np.float32)}, "b": {"y": np.array([1.01], np.float32)}}
    (found,) = describe_differences(sides, always((one,)))
    assert [pair.verdict for pair in found.distances] == ["inconclusive"]


def test_the_first_rows_that_differ_and_the_worst_are_shown_once_each_in_order():
    changes = {f"row_{row}": 0.01 * row for row in range(1, 30)}
    (found, _) = describe_differences({"a": outputs(30, **changes), "b": outputs(30)}, always((DENSE, LABEL)))
    assert found.rows_differing == 29
    assert [row.number for row in found.rows] == [1, 2, 3, 25, 26, 27, 28, 29]
    assert len(found.rows) == FIRST_ROWS + WORST_ROWS
    assert len(found.points) == POINTS
    assert (found.points[0].row, found.points[0].place) == (29, (1, 2))
    assert found.points[0].difference == pytest.approx(0.29, rel=1e-5)


def test_each_side_has_its_values_and_each_pair_its_distance_as_the_rule_measures_it():
    sides = {"result": outputs(2, row_1=1.0), "re-run": outputs(2), "anchor": outputs(2)}
    (found, _) = describe_differences(sides, always((DENSE, LABEL)))
    (_, expected) = compare_rows(sides["result"], sides["anchor"], (DENSE,))
    assert [(pair.first, pair.second, pair.distance) for pair in found.distances] == [
        ("result", "re-run", expected), ("result", "anchor", expected), ("re-run", "anchor", 0.0),
    ]  # fmt: skip
    assert (found.rows[0].number, found.rows[0].distance) == (1, expected)
    assert found.rows[0].values == [[1, 1, 1, 1, 1, 2], [1] * 6, [1] * 6]


def test_nan_and_infinity_are_differences_that_can_be_shown():
    broken = outputs(2)
    broken["map"][0, 0, 0], broken["map"][1, 0, 0] = np.nan, np.inf
    (found, _) = describe_differences({"a": broken, "b": outputs(2)}, always((DENSE, LABEL)))
    assert [row.number for row in found.rows] == [0, 1]
    assert found.distances[0].distance == np.inf
    assert (found.points[0].row, found.points[0].values) == (1, [np.inf, 1.0])


def test_outputs_that_are_judged_together_say_so():
    stated = [
        {"name": "boxes", "dtype": "F32", "shape": [2, 4], "comparator": "detections", "tolerance": 1e-2,
         "options": {"columns": "x1 y1 x2 y2", "scores": "scores", "classes": "kinds"}},
        {"name": "kinds", "dtype": "I64", "shape": [2], "comparator": "exact", "tolerance": 0},
        {"name": "scores", "dtype": "F32", "shape": [2], "comparator": "dense", "tolerance": 1e-2},
        {"name": "token", "dtype": "I64", "shape": [], "comparator": "tokens", "tolerance": 1e-2,
         "options": {"companion": "margin"}},
        {"name": "margin", "dtype": "F32", "shape": [], "comparator": "dense", "tolerance": 1e-2},
    ]  # fmt: skip
    specs = read_output_specs(stated)
    boxes = np.array([[[0, 0, 9, 9], [20, 20, 30, 30]]], np.float32)
    first = {
        "boxes": boxes, "kinds": np.array([[1, 2]]), "scores": np.array([[0.9, 0.8]], np.float32),
        "token": np.array([4]), "margin": np.array([1.0], np.float32),
    }  # fmt: skip
    second = {**first, "boxes": boxes + 3, "scores": first["scores"] / 2}
    found = {each.spec.name: each for each in describe_differences({"a": first, "b": second}, always(specs))}
    assert (found["scores"].judged_with, found["scores"].distances) == ("boxes", [])
    assert found["boxes"].distances[0].verdict == "differs"
    assert found["token"].distances[0].verdict == "agrees"
    assert [row.number for row in found["scores"].rows] == [0]


def test_each_pair_is_judged_by_the_tolerance_between_its_own_classes():
    wide = OutputSpec(name="map", dtype="F32", shape=(2, 3), comparator="dense", tolerance=1.0)
    sides = {"result": outputs(2, row_1=0.1), "re-run": outputs(2), "anchor": outputs(2)}
    (found, _) = describe_differences(
        sides, lambda first, second: (DENSE if (first, second) == ("result", "re-run") else wide, LABEL)
    )
    verdicts = {(pair.first, pair.second): pair.verdict for pair in found.distances}
    assert verdicts == {
        ("result", "re-run"): "differs", ("result", "anchor"): "agrees", ("re-run", "anchor"): "agrees",
    }  # fmt: skip
    assert found.spec.tolerance == 1.0
    assert found.rows[0].distance < 1.0
