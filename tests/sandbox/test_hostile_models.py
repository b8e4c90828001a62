"""Models that are refused: each with its code and its place, none with more than its allowance of time and memory."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper

from tests.research.onnx_files import WEIGHTS, linear_bytes, linear_model, loop_bytes, model_of
from workunits.sandbox.admit import ModelRefused, admit
from workunits.sandbox.report import AdmissionLimits, AdmissionRequest

TIGHT = AdmissionLimits(seconds=20)


def refusals(folder: Path, data: bytes, **request: object) -> list[tuple[str, str]]:
    path = folder / "model.onnx"
    path.write_bytes(data)
    with pytest.raises(ModelRefused) as caught:
        admit(path, AdmissionRequest(**{"limits": TIGHT, **request}))  # type: ignore[arg-type]
    return [(problem.code, problem.where) for problem in caught.value.problems]


def value(name: str, *dims: Any, kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, list(dims))


def external() -> ModelProto:
    model = linear_model()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return model


def memory_marker() -> ModelProto:
    model = external()
    model.graph.initializer[0].external_data[0].value = "*/_ORT_MEM_ADDR_/*"
    return model


def nested(levels: int) -> ModelProto:
    def branch(level: int) -> onnx.GraphProto:
        nodes = [helper.make_node("Identity", ["x"], ["inner"])]
        if level < levels:
            inner = branch(level + 1)
            nodes = [helper.make_node("If", ["choice"], ["inner"], then_branch=inner, else_branch=inner)]
        return helper.make_graph(nodes, f"level {level}", [], [value("inner", "rows", 4)])

    first = helper.make_node("If", ["choice"], ["y"], then_branch=branch(1), else_branch=branch(1))
    return model_of([first], constants={"choice": np.bool_(True)}, outputs=[value("y", "rows", 4)])


def external_in_a_branch() -> ModelProto:
    model = nested(1)
    tensor = helper.make_tensor("hidden", TensorProto.FLOAT, [1], [0.0])
    tensor.data_location = TensorProto.EXTERNAL
    model.graph.node[0].attribute[0].g.initializer.append(tensor)
    return model


def one_node(op: str, inputs: list[str], constants: dict[str, Any] | None = None, **attributes: Any) -> ModelProto:
    domain = str(attributes.pop("domain", ""))
    node = helper.make_node(op, inputs, ["y"], name="bad", domain=domain, **attributes)
    return model_of([node], constants=constants or {}, domains={domain: 1} if domain else {})


def claiming() -> ModelProto:
    model = linear_model()
    model.graph.initializer[0].dims[0] = 2**34
    return model


def with_function() -> ModelProto:
    model = linear_model()
    imports = [helper.make_opsetid("", 17)]
    model.functions.append(
        helper.make_function("mine", "Twice", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], imports)
    )
    return model


def with_opset(version: int) -> ModelProto:
    model = linear_model()
    model.opset_import[0].version = version
    return model


def with_name(name: str) -> ModelProto:
    model = linear_model()
    model.graph.node[0].name = name
    return model


def with_input_type(kind: int) -> ModelProto:
    model = linear_model()
    model.graph.input.append(value("unused", "rows", 4, kind=kind))
    return model


HUGE = np.array([2**17, 2**17])
CORPUS: dict[str, tuple[ModelProto | bytes, str, str]] = {
    "external data": (external(), "external_data", "initializer w"),
    "a memory address for external data": (memory_marker(), "external_data", "initializer w"),
    "external data in a branch": (external_in_a_branch(), "external_data", "initializer hidden"),
    "a custom domain": (one_node("Mine", ["x"], domain="com.mine"), "domain_not_allowed", "domain com.mine"),
    "code for an accelerator": (
        one_node("EPContext", ["x"], domain="com.microsoft"),
        "ep_context",
        "node bad (com.microsoft.EPContext), opset 1",
    ),
    "an operator of no opset": (one_node("Conjure", ["x"]), "unknown_operator", "node bad (Conjure), opset 17"),
    "an operator of a later opset": (one_node("Gelu", ["x"]), "unknown_operator", "node bad (Gelu), opset 17"),
    "deep nesting": (nested(5), "nested_too_deeply", "graph level 4"),
    "64 GiB out of nothing": (
        one_node("ConstantOfShape", ["shape"], {"shape": HUGE}), "tensor_too_large", "node bad (ConstantOfShape)",
    ),
    "a huge expansion": (one_node("Expand", ["x", "shape"], {"shape": HUGE}), "tensor_too_large", "node bad (Expand)"),
    "a huge tiling": (one_node("Tile", ["x", "shape"], {"shape": HUGE}), "tensor_too_large", "node bad (Tile)"),
    "an endless range": (
        one_node("Range", ["a", "b", "c"], {"a": np.float32(0), "b": np.float32(1e12), "c": np.float32(1)}),
        "tensor_too_large",
        "node bad (Range)",
    ),
    "a tensor that claims more than the file": (claiming(), "tensor_too_large", "initializer w"),
    "chance without a seed": (
        one_node("RandomUniformLike", ["x"]), "random_without_seed", "node bad (RandomUniformLike), opset 17",
    ),
    "a custom function": (with_function(), "custom_function", "Twice"),
    "a name that is no text": (
        linear_bytes().replace(b"MatMul", b"\xff\xfe\x00Mul"), "invalid_model", "",
    ),
    "a name without end": (with_name("n" * 20_000), "name_too_long", ""),
    "a domain's version beyond numbers": (
        model_of([helper.make_node("Scaler", ["x"], ["y"], domain="ai.onnx.ml")], domains={"ai.onnx.ml": 2**62}),
        "opset_too_new",
        "domain ai.onnx.ml",
    ),
    "a shape that is not a number": (
        one_node("ConstantOfShape", ["shape"], {"shape": np.array([np.nan], np.float32)}),
        "tensor_too_large",
        "node bad (ConstantOfShape)",
    ),
    "a type that there is not": (with_input_type(2**31 - 1), "dtype_not_supported", "input unused"),
    "an opset of the future": (with_opset(24), "opset_too_new", "opset 24"),
    "an opset of the past": (with_opset(12), "opset_too_old", "opset 12"),
}  # fmt: skip


@pytest.mark.parametrize("name", CORPUS)
def test_it_is_refused_by_name(tmp_path, name) -> None:
    model, code, where = CORPUS[name]
    found = refusals(tmp_path, model if isinstance(model, bytes) else model.SerializeToString())
    assert (code, where) in found


@pytest.mark.parametrize("data", [b"", b"\x00\xff garbage", linear_bytes()[:40], b"PK\x03\x04"])
def test_bytes_that_are_no_model_are_refused(tmp_path, data) -> None:
    assert refusals(tmp_path, data)[0][0] in ("not_an_onnx_model", "invalid_model", "ir_version_unsupported")


def test_a_loop_without_end_is_refused_before_anything_loads_it(tmp_path) -> None:
    started = time.monotonic()
    assert refusals(tmp_path, loop_bytes()) == [("unbounded_operator", "node forever (Loop), opset 17")]
    assert time.monotonic() - started < 10


def test_a_file_over_the_cap_is_refused_unread(tmp_path) -> None:
    limits = AdmissionLimits(model_bytes_max=100)
    assert refusals(tmp_path, linear_bytes(), limits=limits) == [("model_too_large", "")]


def test_too_many_nodes_are_refused(tmp_path) -> None:
    chain = ["x", *(f"t{number}" for number in range(20)), "y"]
    nodes = [helper.make_node("Relu", [left], [right]) for left, right in itertools.pairwise(chain)]
    limits = AdmissionLimits(nodes_max=20, seconds=20)
    data = model_of(nodes, outputs=[value("y", "rows", 4)]).SerializeToString()
    assert refusals(tmp_path, data, limits=limits) == [("too_many_nodes", "")]


def test_every_bad_node_is_named_not_only_the_first(tmp_path) -> None:
    nodes = [
        helper.make_node("Conjure", ["x"], ["t"], name="first"),
        helper.make_node("Conjure", ["t"], ["y"], name="second"),
    ]
    found = refusals(tmp_path, model_of(nodes).SerializeToString())
    assert [place for _, place in found] == ["node first (Conjure), opset 17", "node second (Conjure), opset 17"]


def test_a_free_dimension_without_a_value_is_named(tmp_path) -> None:
    nodes = [helper.make_node("ReduceMean", ["x"], ["y"], axes=[1], keepdims=0)]
    data = model_of(nodes, inputs=[value("x", "rows", "sequence", 3)]).SerializeToString()
    assert refusals(tmp_path, data) == [("free_dimension", "input x, axis 1")]


def test_a_value_for_no_dimension_is_named(tmp_path) -> None:
    assert refusals(tmp_path, linear_bytes(), fixed_dims={"sequnce": 4}) == [("unknown_dimension", "sequnce")]


@pytest.mark.parametrize(
    ("model_input", "code"),
    [
        (value("x"), "no_row_dimension"),
        (value("x", 7, 4), "no_row_dimension"),
        (value("x", "rows", 4, kind=TensorProto.STRING), "dtype_not_supported"),
        (value("x", "rows", 2**40), "row_too_large"),
        (helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, ["rows", 4]), "not_a_tensor"),
    ],
)
def test_an_input_that_is_no_rows_is_refused(tmp_path, model_input, code) -> None:
    model = model_of([helper.make_node("Identity", ["x"], ["y"])], inputs=[model_input])
    model.graph.output[0].type.CopyFrom(model.graph.input[0].type)
    assert (code, "input x") in refusals(tmp_path, model.SerializeToString())


def test_an_output_without_rows_is_refused(tmp_path) -> None:
    nodes = [helper.make_node("ReduceMax", ["x"], ["y"], keepdims=0)]
    data = model_of(nodes, outputs=[value("y")]).SerializeToString()
    assert refusals(tmp_path, data) == [("output_without_rows", "output y")]


def test_outputs_that_are_not_there_are_named(tmp_path) -> None:
    outputs = [{"name": "z"}, {"name": "y", "comparator": "cosine"}]
    found = refusals(tmp_path, linear_bytes(), outputs=outputs)
    assert found == [("unknown_output", "output z"), ("unknown_comparator", "output y")]


def test_a_model_that_differs_from_run_to_run_is_refused(tmp_path) -> None:
    nodes = [
        helper.make_node("RandomUniformLike", ["x"], ["noise"], seed=7.0),
        helper.make_node("MatMul", ["noise", "w"], ["y"]),
    ]
    data = model_of(nodes, constants={"w": WEIGHTS}).SerializeToString()
    assert refusals(tmp_path, data) == [("not_repeatable", "output y")]


def test_memory_that_no_constant_betrays_is_refused_by_the_limit(tmp_path) -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["extent"]),
        helper.make_node("Mul", ["extent", "factor"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["huge"]),
        helper.make_node("ReduceMax", ["huge"], ["top"], keepdims=0),
        helper.make_node("Add", ["x", "top"], ["y"]),
    ]
    model = model_of(nodes, constants={"factor": np.array([2**16, 2**14])}, outputs=[value("y", "rows", 4)])
    limits = AdmissionLimits(seconds=20, memory_bytes=3 * 1024**3)
    assert refusals(tmp_path, model.SerializeToString(), limits=limits)[0][0] in ("dry_run_failed", "out_of_memory")


def test_a_load_without_end_is_stopped(tmp_path) -> None:
    """Folding constants is work that onnxruntime does while it loads: sixty products of 4096-square matrices."""
    chain = ["huge", *(f"t{number}" for number in range(60))]
    nodes = [helper.make_node("ConstantOfShape", ["shape"], ["huge"])]
    nodes += [helper.make_node("MatMul", [left, "huge"], [right]) for left, right in itertools.pairwise(chain)]
    nodes += [
        helper.make_node("ReduceMax", [chain[-1]], ["top"], keepdims=0),
        helper.make_node("Add", ["x", "top"], ["y"]),
    ]
    model = model_of(nodes, constants={"shape": np.array([4096, 4096])}, outputs=[value("y", "rows", 4)])
    started = time.monotonic()
    assert refusals(tmp_path, model.SerializeToString(), limits=AdmissionLimits(seconds=3)) == [("out_of_time", "")]
    assert time.monotonic() - started < 10
