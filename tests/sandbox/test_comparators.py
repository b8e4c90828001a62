"""Which comparator an output gets from its graph, what a researcher may state, and what can be compared at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

from tests.research.onnx_files import WEIGHTS, model_of
from workunits.domain.comparison import find_misfits, read_output_specs
from workunits.sandbox.admit import ModelRefused, admit
from workunits.sandbox.comparators import choose, find_precision, join_choices, join_detections, spare_masks
from workunits.sandbox.endings import OTHER, Ending, endings
from workunits.sandbox.report import AdmissionRequest, ModelFacts

node = helper.make_node


def vector(name: str, *dims: Any, kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, list(dims))


def examine(folder: Path, model: ModelProto, **request: Any) -> ModelFacts:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return admit(path, AdmissionRequest(**request))


def refusal(folder: Path, model: ModelProto, **request: Any) -> tuple[str, str]:
    with pytest.raises(ModelRefused) as refused:
        examine(folder, model, **request)
    problem = refused.value.problems[0]
    return problem.code, problem.detail


def chosen(model: ModelProto, name: str, shape: list[int], dtype: str = "F32") -> tuple[str, dict[str, Any]]:
    return choose(dtype, shape, endings(model.graph)[name])


def classifier(*more: Any, outputs: list[Any] | None = None) -> ModelProto:
    """Return scores of three classes, and whatever follows from them."""
    return model_of(
        [node("MatMul", ["x", "w"], ["y"]), *more],
        outputs=[vector("y", "rows", 3), *(outputs or [])],
        constants={"w": np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)},
    )


LABEL = (node("ArgMax", ["y"], ["label"], axis=1, keepdims=0), vector("label", "rows", kind=TensorProto.INT64))


def test_a_label_beside_its_scores_is_judged_by_them(tmp_path) -> None:
    facts = examine(tmp_path, classifier(LABEL[0], outputs=[LABEL[1]]))
    label = {"companion": "y", "sequential": False}
    assert facts.outputs == [
        {"name": "y", "dtype": "F32", "shape": [3], "comparator": "logits", "tolerance": 1e-4},
        {"name": "label", "dtype": "I64", "shape": [], "comparator": "tokens", "tolerance": 1e-4, "options": label},
    ]
    assert [row["output"] for row in facts.tolerances] == ["y"]


def test_a_label_of_a_softmax_is_judged_by_its_shares(tmp_path) -> None:
    model = classifier(
        node("Softmax", ["y"], ["p"], axis=1),
        node("ArgMax", ["p"], ["top"], axis=1),
        node("Gather", ["names", "top"], ["label"]),
        outputs=[vector("p", "rows", 3), vector("label", "rows", 1, kind=TensorProto.INT64)],
    )
    model.graph.initializer.append(helper.make_tensor("names", TensorProto.INT64, [3], [700, 800, 900]))
    wanted = [{"name": "p"}, {"name": "label"}]
    found = examine(tmp_path, model, outputs=wanted).outputs
    assert [output["comparator"] for output in found] == ["probabilities", "tokens"]
    assert found[0]["options"] == {"softmax": True}
    assert found[1]["options"] == {"companion": "p", "sequential": False}


@pytest.mark.parametrize(
    ("axis", "shape", "options"), [(1, [80], None), (1, [5, 6, 7], {"axis": 0}), (-1, [6, 7], None)]
)
def test_scores_that_something_is_chosen_by_are_logits_whatever_they_look_like(axis, shape, options) -> None:
    chosen_shape = shape[1:] if axis == 1 else shape[:-1]
    model = model_of(
        [node("Mul", ["x", "two"], ["y"]), node("ArgMax", ["y"], ["label"], axis=axis, keepdims=0)],
        inputs=[vector("x", "rows", *shape)],
        outputs=[vector("y", "rows", *shape), vector("label", "rows", *chosen_shape, kind=TensorProto.INT64)],
        constants={"two": np.float32(2)},
    )
    found = endings(model.graph)
    looks_like = chosen(model, "y", shape)[0]
    assert looks_like in ("embedding", "dense")
    outputs: list[dict[str, Any]] = [
        {"name": "y", "dtype": "F32", "shape": shape, "comparator": looks_like, "tolerance": 1e-4},
        {"name": "label", "dtype": "I64", "shape": chosen_shape, "comparator": "exact", "tolerance": 0.0},
    ]
    kept = [dict(each) for each in outputs]
    join_choices(kept, found, frozenset({"y"}))
    assert [each["comparator"] for each in kept] == [looks_like, "exact"]
    join_choices(outputs, found, frozenset())
    assert [each["comparator"] for each in outputs] == ["logits", "tokens"]
    assert outputs[0].get("options") == options
    assert find_misfits(read_output_specs(outputs)) == []


def test_a_label_alone_and_a_label_that_was_stated_to_be_exact_are_exact(tmp_path) -> None:
    model = classifier(LABEL[0], outputs=[LABEL[1]])
    assert examine(tmp_path, model, outputs=[{"name": "label"}]).outputs[0]["comparator"] == "exact"
    stated = [{"name": "y"}, {"name": "label", "comparator": "exact"}]
    assert examine(tmp_path, model, outputs=stated).outputs[1]["comparator"] == "exact"


@pytest.mark.parametrize(
    ("axis", "shape", "expected"),
    [
        (-1, [7, 5], ("probabilities", {"softmax": True})),
        (1, [5, 8, 8], ("probabilities", {"axis": 0, "softmax": True})),
        (-3, [5, 8, 8], ("probabilities", {"axis": -3, "softmax": True})),
        (3, [5, 8, 8], ("probabilities", {"softmax": True})),
        (0, [5, 8], ("dense", {})),
    ],
)
def test_the_axis_of_a_softmax_is_that_of_the_classes(axis, shape, expected) -> None:
    dims = ["rows", *shape]
    model = model_of(
        [node("Softmax", ["x"], ["y"], axis=axis)], inputs=[vector("x", *dims)], outputs=[vector("y", *dims)]
    )
    assert chosen(model, "y", shape) == expected


def quantised(scale: str = "s", *, weights_only: bool = False) -> ModelProto:
    """Return a product of 8-bit weights and, unless told otherwise, 8-bit factors."""
    nodes = [node("DequantizeLinear", ["w8", "s", "z"], ["w"])]
    if scale == "made":
        nodes.append(node("ReduceMax", ["x"], ["made"], keepdims=0))
    if not weights_only:
        nodes += [
            node("QuantizeLinear", ["x", scale, "z"], ["x8"]),
            node("DequantizeLinear", ["x8", scale, "z"], ["xq"]),
        ]
    nodes.append(node("MatMul", ["x" if weights_only else "xq", "w"], ["y"]))
    return model_of(nodes, constants={"w8": WEIGHTS.astype(np.int8), "s": np.float32(0.05), "z": np.array(0, np.int8)})


def test_static_8_bits_are_compared_as_such_within_a_class_and_across(tmp_path) -> None:
    facts = examine(tmp_path, quantised())
    assert facts.outputs == [
        {
            "name": "y",
            "dtype": "F32",
            "shape": [3],
            "comparator": "int8",
            "tolerance": 0.05,
            "options": {"task": "logits"},
        }
    ]
    assert [(row["comparison_class"], row["tolerance"]) for row in facts.tolerances] == [("", 0.05), ("*", 0.005)]


def test_floats_beside_8_bit_weights_do_not_make_their_tolerance_smaller_than_a_step(tmp_path) -> None:
    """Half precision changes next to nothing in a bias."""
    model = quantised()
    model.graph.node[-1].output[0] = "product"
    model.graph.node.append(node("Add", ["product", "bias"], ["y"]))
    model.graph.initializer.append(
        helper.make_tensor("bias", TensorProto.FLOAT, [3], np.full(3, 1.0001, np.float32).tolist())
    )
    rows = examine(tmp_path, model).tolerances
    assert rows[0]["cheaper_distance"] < 1e-3
    assert [(row["comparison_class"], row["tolerance"]) for row in rows] == [("", 0.05), ("*", 0.005)]


def test_8_bit_weights_alone_change_nothing() -> None:
    assert chosen(quantised(weights_only=True), "y", [3]) == ("logits", {})


@pytest.mark.parametrize("dynamic", ["DynamicQuantizeLinear", "by hand"])
def test_quantisation_that_depends_on_the_rows_of_a_batch_is_refused(tmp_path, dynamic) -> None:
    model = quantised("made")
    if dynamic == "DynamicQuantizeLinear":
        nodes = [
            node("DynamicQuantizeLinear", ["x"], ["x8", "s", "z"]),
            node("DequantizeLinear", ["x8", "s", "z"], ["xq"]),
            node("MatMul", ["xq", "w"], ["y"]),
        ]
        model = model_of(nodes, constants={"w": WEIGHTS})
    code, detail = refusal(tmp_path, model)
    assert code == "dynamic_quantisation"
    assert "takes its scale from the rows of a batch" in detail


def detector(*, is_centre: bool = False, class_first: bool = False) -> ModelProto:
    parts = ["kinds", "scores"] if class_first else ["scores", "kinds"]
    limits = ["most", "iou", "least"]
    return model_of(
        [
            node("NonMaxSuppression", ["boxes", "raw", *limits], ["kept"], center_point_box=int(is_centre)),
            node("Gather", ["kept", "one"], ["places"], axis=1),
            node("Gather", ["boxes", "places"], ["b"]),
            node("Gather", ["raw", "places"], ["scores"]),
            node("ArgMax", ["scores"], ["kind"]),
            node("Cast", ["kind"], ["kinds"], to=TensorProto.FLOAT),
            node("Concat", ["b", *parts], ["y"], axis=-1),
        ],
        inputs=[vector("boxes", "rows", 9, 4), vector("raw", "rows", 2, 9)],
        outputs=[vector("y", "rows", 9, 6)],
        constants={
            "most": np.array([9]), "iou": np.array([0.45], np.float32), "least": np.array([0.25], np.float32),
            "one": np.array(1),
        },
    )  # fmt: skip


@pytest.mark.parametrize(
    ("made", "columns"),
    [
        (detector(), "x1 y1 x2 y2 score class"),
        (detector(is_centre=True), "cx cy w h score class"),
        (detector(class_first=True), "x1 y1 x2 y2 class score"),
    ],
)
def test_what_follows_a_suppression_is_a_list_of_detections(made, columns) -> None:
    options = {"columns": columns, "iou_threshold": 0.45, "score_threshold": 0.25}
    assert chosen(made, "y", [9, 6]) == ("detections", options)


def apart(*, classes: int = TensorProto.INT64) -> ModelProto:
    """Return the detector with boxes, scores, classes and their number as outputs of their own."""
    made = detector()
    del made.graph.node[-1:]
    kinds = ["kind" if classes == TensorProto.INT64 else "kinds"]
    made.graph.node.extend([node("Identity", kinds, ["labels"]), node("Size", ["places"], ["number"])])
    del made.graph.output[:]
    made.graph.output.extend(
        [vector("b", "rows", 9, 4), vector("scores", "rows", 9), vector("labels", "rows", 9, kind=classes),
         vector("number", "rows", kind=TensorProto.INT64)]
    )  # fmt: skip
    return made


def described(*names: str, label: str = "I64") -> list[dict[str, Any]]:
    shapes: dict[str, list[int]] = {"b": [9, 4], "scores": [9], "labels": [9], "number": []}
    dtypes = {"labels": label, "number": "I64"}
    whole = [name for name in names if dtypes.get(name, "F32") == "I64"]
    return [
        {"name": name, "dtype": dtypes.get(name, "F32"), "shape": shapes[name],
         "tolerance": 0.0 if name in whole else 1e-4, "comparator": "exact" if name in whole else "dense"}
        for name in names
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", ["I64", "F32"])
def test_boxes_scores_and_classes_that_are_outputs_of_their_own_are_one_list_of_detections(dtype) -> None:
    made, outputs = apart(classes=getattr(TensorProto, {"I64": "INT64", "F32": "FLOAT"}[dtype])), None
    outputs = described("b", "scores", "labels", "number", label=dtype)
    join_detections(outputs, endings(made.graph), frozenset(), "F32")
    thresholds = {"iou_threshold": 0.45, "score_threshold": 0.25}
    assert (outputs[0]["comparator"], outputs[0]["tolerance"]) == ("detections", 1e-3)
    assert outputs[0]["options"] == {
        "columns": "x1 y1 x2 y2", "scores": "scores", "classes": "labels", "count": "number", **thresholds
    }  # fmt: skip
    assert find_misfits(read_output_specs(outputs)) == []


@pytest.mark.parametrize("names", [("b", "scores"), ("b", "labels", "number"), ("scores", "labels")])
def test_what_is_no_whole_list_of_detections_is_left_alone(names) -> None:
    outputs = described(*names)
    join_detections(outputs, endings(apart().graph), frozenset(), "F32")
    assert outputs == described(*names)
    whole = described("b", "scores", "labels")
    join_detections(whole, endings(apart().graph), frozenset({"b"}), "F32")
    assert whole == described("b", "scores", "labels")


def picture(*after: Any, kind: int) -> ModelProto:
    return model_of(
        [node("Conv", ["x", "k"], ["scores"]), *after],
        inputs=[vector("x", "rows", 3, 40, 40)],
        outputs=[vector("y", "rows", 1, 40, 40, kind=kind)],
        constants={"k": np.random.default_rng(1).normal(size=(1, 3, 1, 1)).astype(np.float32), "zero": np.float32(0)},
    )


@pytest.mark.parametrize(
    "made",
    [
        picture(node("Cast", ["scores"], ["y"], to=TensorProto.INT32), kind=TensorProto.INT32),
        picture(node("Greater", ["scores", "zero"], ["y"]), kind=TensorProto.BOOL),
    ],
)
def test_masks_and_pictures_of_whole_numbers_are_no_mismatch_for_a_pixel_at_a_tie(tmp_path, made) -> None:
    (found,) = examine(tmp_path, made).outputs
    assert (found["comparator"], found["options"]) == ("tokens", {"sequential": False})
    stated = [{"name": "y", "comparator": "exact"}]
    assert examine(tmp_path, made, outputs=stated).outputs[0]["comparator"] == "exact"


def test_whole_numbers_that_are_only_looked_up_stay_exact() -> None:
    passed_on = model_of(
        [node("Identity", ["ids"], ["y"])],
        inputs=[vector("ids", "rows", 2000, kind=TensorProto.INT64)],
        outputs=[vector("y", "rows", 2000, kind=TensorProto.INT64)],
    )
    outputs = [{"name": "y", "dtype": "I64", "shape": [2000], "comparator": "exact", "tolerance": 0.0}]
    spare_masks(outputs, endings(passed_on.graph), frozenset(), "F32")
    assert outputs[0]["comparator"] == "exact"


def test_a_label_of_8_bit_scores_needs_the_scores_beside_it(tmp_path) -> None:
    """Two instruction sets add products of 8 bits up differently, which one computer cannot show."""
    model = quantised()
    model.graph.node.append(node("ArgMax", ["y"], ["label"], axis=1, keepdims=0))
    model.graph.output.append(vector("label", "rows", kind=TensorProto.INT64))
    code, detail = refusal(tmp_path, model, outputs=[{"name": "label"}])
    assert code == "comparator_misfit"
    assert "Let the model give the scores" in detail
    both = examine(tmp_path, model).outputs
    assert [(each["comparator"], each["tolerance"]) for each in both] == [("int8", 0.05), ("tokens", 0.05)]


def test_8_bit_scores_are_not_compared_more_closely_than_computers_agree(tmp_path) -> None:
    code, detail = refusal(tmp_path, quantised(), outputs=[{"name": "y", "comparator": "logits"}])
    assert code == "comparator_misfit"
    assert """State comparator 'int8' with options {"task": "logits"}""" in detail
    stated = [{"name": "y", "comparator": "logits", "tolerance": 0.02}]
    assert examine(tmp_path, quantised(), outputs=stated).outputs[0]["tolerance"] == 0.02


def test_detections_of_8_bit_arithmetic_have_the_tolerances_of_half_precision() -> None:
    quantised_ending = Ending(is_quantised=True, is_suppressed=True)
    assert find_precision("F32", "detections", "F32", quantised_ending) == "F16"
    assert find_precision("F32", "detections", "F32", OTHER) == "F32"
    assert find_precision("F16", "logits", "F32", OTHER) == "F16"


def test_options_that_are_stated_are_kept(tmp_path) -> None:
    model = model_of(
        [node("Conv", ["x", "k"], ["y"])],
        inputs=[vector("x", "rows", 3, 4, 4)],
        outputs=[vector("y", "rows", 5, 4, 4)],
        constants={"k": np.ones((5, 3, 1, 1), np.float32)},
    )
    stated = [{"name": "y", "comparator": "logits", "tolerance": 2e-4, "options": {"axis": 0}}]
    facts = examine(tmp_path, model, outputs=stated)
    assert facts.outputs == [{**stated[0], "dtype": "F32", "shape": [5, 4, 4]}]
    assert facts.tolerances[0]["tolerance"] == 2e-4


@pytest.mark.parametrize(
    ("stated", "code", "detail"),
    [
        ({"comparator": "logits", "options": {"axis": 3}}, "comparator_misfit", "axis 3 is none of a row's 1 axes"),
        ({"comparator": "logits", "options": {"softmax": True}}, "invalid_output_option", "knows no option 'softmax'"),
        ({"comparator": "tokens"}, "comparator_misfit", "'tokens' is for whole numbers"),
        ({"comparator": "detections"}, "comparator_misfit", r"floats [n, 6], not F32 [3]"),
        ({"tolerance": 1e-9}, "tolerance_out_of_range", "must be 1e-05 to 0.1 for comparator 'logits'"),
        ({"tolerance": 0}, "tolerance_out_of_range", "honest computers differ by more"),
    ],
)
def test_what_cannot_judge_the_output_is_refused(tmp_path, stated, code, detail) -> None:
    found, text = refusal(tmp_path, classifier(), outputs=[{"name": "y", **stated}])
    assert found == code
    assert detail in text


def test_an_output_that_mixes_the_rows_of_a_block_is_refused(tmp_path) -> None:
    model = model_of(
        [
            node("MatMul", ["x", "w"], ["z"]),
            node("ReduceMean", ["z"], ["mean"], axes=[0]),
            node("Sub", ["z", "mean"], ["y"]),
        ],
        constants={"w": WEIGHTS},
    )
    code, detail = refusal(tmp_path, model)
    assert code == "not_comparable"
    assert "honest cars would be taken for cheats" in detail
