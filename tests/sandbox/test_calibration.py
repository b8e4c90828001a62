"""What admission measures: honest ways to run a model, a cheaper precision, and inputs that it could meet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from bench.models.selftest import make_convolution, make_transformer
from tests.research.onnx_files import model_of
from workunits.sandbox.admit import ModelRefused, admit
from workunits.sandbox.cheaper import make_cheaper
from workunits.sandbox.endings import find_precision
from workunits.sandbox.plausible import index_bounds, make_rows
from workunits.sandbox.report import AdmissionRequest, ModelFacts

DTYPES = {"F32": np.float32, "I64": np.int64, "U8": np.uint8}


def vector(name: str, *dims: Any, kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, list(dims))


def examine(folder: Path, model: ModelProto, **request: Any) -> ModelFacts:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return admit(path, AdmissionRequest(**request))


@pytest.mark.parametrize("make", [make_convolution, make_transformer])
def test_a_networks_tolerance_lies_between_honest_runs_and_half_precision(tmp_path, make) -> None:
    facts = examine(tmp_path, make()[0])
    (row,) = facts.tolerances
    assert (row["output"], row["comparison_class"], row["samples"]) == (facts.outputs[0]["name"], "", 32)
    # Reordering the graph changes last bits; half precision changes a thousand times as much.
    assert 0 < row["observed_max"] < 2e-6
    assert 1e-4 < row["cheaper_distance"] < 2e-3
    assert 10 * row["observed_max"] <= row["tolerance"] == 1e-5 <= row["cheaper_distance"] / 8
    assert facts.outputs[0]["tolerance"] == 1e-4  # the cap; what was measured is kept beside it


def test_what_is_measured_twice_is_nearly_the_same_and_the_facts_are_equal(tmp_path) -> None:
    first, second = (examine(tmp_path, make_convolution()[0]) for _ in range(2))
    assert first.outputs == second.outputs
    assert first.tolerances == second.tolerances


def test_floats_that_are_stated_to_be_exact_are_refused_where_honest_runs_differ(tmp_path) -> None:
    with pytest.raises(ModelRefused, match="Honest runs of the model already differ in output 'logits'"):
        examine(tmp_path, make_convolution()[0], outputs=[{"name": "logits", "comparator": "exact"}])


def test_floats_that_are_copied_may_be_exact(tmp_path) -> None:
    model = model_of([helper.make_node("Slice", ["x", "from", "to", "axis"], ["y"])], constants={
        "from": np.array([0]), "to": np.array([3]), "axis": np.array([1]),
    })  # fmt: skip
    facts = examine(tmp_path, model, outputs=[{"name": "y", "comparator": "exact"}])
    assert (facts.outputs[0]["tolerance"], facts.tolerances) == (0.0, [])


def test_half_precision_has_wider_bounds_and_8_bits_below_it(tmp_path) -> None:
    model = make_convolution()[0]
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    facts = examine(tmp_path, model)
    assert (facts.outputs[0]["dtype"], facts.outputs[0]["tolerance"]) == ("F16", 5e-3)
    (row,) = facts.tolerances
    assert 4 * row["tolerance"] <= row["cheaper_distance"]


def test_numbers_that_index_in_hidden_ways_become_zeros(tmp_path) -> None:
    """A float that is cast to an index: nothing tells its bound."""
    model = model_of(
        [
            helper.make_node("Cast", ["x"], ["where"], to=TensorProto.INT64),
            helper.make_node("GatherElements", ["x", "where"], ["moved"], axis=1),
            helper.make_node("MatMul", ["moved", "w"], ["y"]),
        ],
        inputs=[vector("x", "rows", 1)],
        constants={"w": np.ones((1, 3), np.float32)},
    )
    (row,) = examine(tmp_path, model).tolerances
    assert (row["observed_max"], row["tolerance"]) == (0.0, 1e-5)


# -- the cheaper model -----------------------------------------------------------------------------------------------


def product(dtype: Any, kind: int) -> ModelProto:
    weights = np.random.default_rng(3).normal(size=(4, 3)).astype(dtype)
    return model_of(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        inputs=[vector("x", "rows", 4, kind=kind)],
        outputs=[vector("y", "rows", 3, kind=kind)],
        constants={"w": weights},
    )


@pytest.mark.parametrize(
    ("dtype", "kind", "least", "most"),
    [
        (np.float64, TensorProto.DOUBLE, 1e-9, 1e-6),
        (np.float32, TensorProto.FLOAT, 1e-5, 1e-3),
        (np.float16, TensorProto.FLOAT16, 1e-3, 3e-2),
    ],
)
def test_weights_and_what_they_are_multiplied_by_lose_their_last_digits(dtype, kind, least, most) -> None:
    model = product(dtype, kind)
    rows = {"x": np.random.default_rng(4).normal(size=(64, 4)).astype(dtype)}
    cheap = make_cheaper(model.SerializeToString())
    assert cheap is not None
    onnx.checker.check_model(onnx.load_from_string(cheap), full_check=True)
    y, lower = (
        onnxruntime.InferenceSession(each).run(None, rows)[0].astype(np.float64)
        for each in (model.SerializeToString(), cheap)
    )
    assert least < np.linalg.norm(y - lower) / np.linalg.norm(y) < most


@pytest.mark.parametrize(
    ("dtype", "kind", "precision"),
    [(np.float32, TensorProto.FLOAT, "F32"), (np.float16, TensorProto.FLOAT16, "F16")],
)
def test_weights_that_an_operator_makes_constant_count_like_others(dtype, kind, precision) -> None:
    model = product(dtype, kind)
    rows = {"x": np.random.default_rng(4).normal(size=(64, 4)).astype(dtype)}
    made = onnx.ModelProto.FromString(model.SerializeToString())
    weight = made.graph.initializer.pop()
    made.graph.node.insert(0, helper.make_node("Constant", [], ["w"], value=weight))
    there, here = (make_cheaper(each.SerializeToString()) for each in (model, made))
    assert here is not None
    first, second = (onnxruntime.InferenceSession(each).run(None, rows)[0] for each in (there, here))
    assert np.array_equal(first, second)
    assert find_precision(made.graph) == precision


def test_a_graph_that_turns_to_half_floats_on_the_way_computes_in_half_precision() -> None:
    half = [helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16)]
    whole = helper.make_node("Cast", ["h"], ["y"], to=TensorProto.FLOAT)
    assert find_precision(model_of([*half, whole]).graph) == "F16"
    assert find_precision(model_of([helper.make_node("Relu", ["x"], ["y"])]).graph) == "F32"


def test_a_model_without_weights_has_no_cheaper_precision() -> None:
    assert make_cheaper(model_of([helper.make_node("Relu", ["x"], ["y"])]).SerializeToString()) is None


# -- inputs ----------------------------------------------------------------------------------------------------------


def test_indexes_stay_inside_the_smallest_table_that_they_are_for() -> None:
    model = model_of(
        [
            helper.make_node("Cast", ["ids"], ["whole"], to=TensorProto.INT64),
            helper.make_node("Gather", ["words", "whole"], ["a"]),
            helper.make_node("Gather", ["few", "ids"], ["b"], axis=1),
            helper.make_node("Gather", ["types", "kinds"], ["c"]),
            helper.make_node("Add", ["a", "c"], ["y"]),
        ],
        inputs=[vector("ids", "rows", 4, kind=TensorProto.INT32), vector("kinds", "rows", 4, kind=TensorProto.INT64)],
        constants={"words": np.ones((50, 3)), "few": np.ones((2, 7)), "types": np.ones((2, 3))},
    )
    assert index_bounds(model.graph) == {"ids": 7, "kinds": 2}


def test_rows_are_the_same_every_time_and_fit_their_kind() -> None:
    inputs = [
        {"name": "image", "dtype": "F32", "shape": [3, 4]},
        {"name": "ids", "dtype": "I64", "shape": [100]},
        {"name": "attention_mask", "dtype": "I64", "shape": [100]},
        {"name": "pixels", "dtype": "U8", "shape": [100]},
    ]
    rows = make_rows(inputs, {"ids": 30}, 8, DTYPES)
    again = make_rows(inputs, {"ids": 30}, 8, DTYPES)
    assert all(np.array_equal(rows[name], again[name]) for name in rows)
    assert {name: (array.dtype, array.shape) for name, array in rows.items()} == {
        "image": (np.dtype("f4"), (8, 3, 4)), "ids": (np.dtype("i8"), (8, 100)),
        "attention_mask": (np.dtype("i8"), (8, 100)), "pixels": (np.dtype("u1"), (8, 100)),
    }  # fmt: skip
    assert rows["image"].std() > 0.3
    assert (rows["ids"].min(), rows["ids"].max()) == (0, 29)
    assert (rows["attention_mask"] == 1).all()
    assert rows["pixels"].max() > 200
