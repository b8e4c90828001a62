"""Small real ONNX models and datasets that tests bring."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def model_of(
    nodes: list[Any],
    *,
    inputs: list[Any] | None = None,
    outputs: list[Any] | None = None,
    constants: dict[str, Any] | None = None,
    opset: int = 17,
    domains: dict[str, int] | None = None,
) -> onnx.ModelProto:
    """Return a model over `nodes`: x float [rows, 4] -> y float [rows, 3] unless told otherwise."""
    graph = helper.make_graph(
        nodes,
        "test",
        inputs or [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 4])],
        outputs or [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
    )
    imports = [helper.make_opsetid("", opset)]
    imports += [helper.make_opsetid(domain, version) for domain, version in (domains or {}).items()]
    return helper.make_model(graph, opset_imports=imports, ir_version=9)


WEIGHTS = np.arange(12, dtype=np.float32).reshape(4, 3)


def linear_model() -> onnx.ModelProto:
    """Return y = x W: 24 FLOPs a row."""
    return model_of([helper.make_node("MatMul", ["x", "w"], ["y"], name="project")], constants={"w": WEIGHTS})


def linear_bytes() -> bytes:
    return bytes(linear_model().SerializeToString())


def loop_bytes() -> bytes:
    """Return a model with a Loop, which admission refuses by name."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_in"], ["go_out"]),
            helper.make_node("Identity", ["carried_in"], ["carried_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("trip", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried_in", TensorProto.FLOAT, ["rows", 4]),
        ],
        [
            helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried_out", TensorProto.FLOAT, ["rows", 4]),
        ],
    )
    nodes = [
        helper.make_node("Loop", ["trips", "go", "x"], ["carried"], name="forever", body=body),
        helper.make_node("MatMul", ["carried", "w"], ["y"]),
    ]
    constants = {"trips": np.int64(2**60), "go": np.bool_(True), "w": WEIGHTS}
    return bytes(model_of(nodes, constants=constants).SerializeToString())


def npz_bytes(rows: int = 10, **columns: Any) -> bytes:
    """Return an NPZ dataset; by default a column x of float [rows, 4]."""
    arrays = columns or {"x": np.arange(rows * 4, dtype=np.float32).reshape(rows, 4)}
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()
