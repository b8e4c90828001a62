"""Short names for building small ONNX models that are wrong in one way."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

WEIGHTS = np.arange(12, dtype=np.float32).reshape(4, 3)


def value(name: str, *dims: Any, kind: int = TensorProto.FLOAT) -> Any:
    """Return the declaration of a tensor."""
    return helper.make_tensor_value_info(name, kind, list(dims))


def node(op: str, inputs: list[str], outputs: list[str] | None = None, **attributes: Any) -> NodeProto:
    """Return a node; `domain` is an attribute like any other."""
    return helper.make_node(op, inputs, outputs or ["y"], **attributes)


def model(
    nodes: list[NodeProto],
    *,
    inputs: list[Any] | None = None,
    outputs: list[Any] | None = None,
    constants: dict[str, Any] | None = None,
    opset: int = 17,
    domains: tuple[str, ...] = (),
) -> ModelProto:
    """Return a model over `nodes`: x float [rows, 4] -> y float [rows, 3] unless told otherwise."""
    graph = helper.make_graph(
        nodes,
        "hostile",
        [value("x", "rows", 4)] if inputs is None else inputs,
        [value("y", "rows", 3)] if outputs is None else outputs,
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()],
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=imports, ir_version=9)


def linear() -> ModelProto:
    """Return y = x W, which is valid."""
    return model([node("MatMul", ["x", "w"])], constants={"w": WEIGHTS})


def graph(nodes: list[NodeProto], inputs: list[Any], outputs: list[Any], name: str = "inner") -> GraphProto:
    """Return a subgraph."""
    return helper.make_graph(nodes, name, inputs, outputs)


def raw(made: ModelProto) -> bytes:
    """Return a model's bytes."""
    content: bytes = made.SerializeToString()
    return content


def varint(number: int) -> bytes:
    """Return a protobuf varint."""
    content = bytearray()
    while number > 0x7F:
        content.append(number & 0x7F | 0x80)
        number >>= 7
    content.append(number)
    return bytes(content)


def field(number: int, content: bytes) -> bytes:
    """Return a length-delimited protobuf field."""
    return varint(number << 3 | 2) + varint(len(content)) + content


__all__ = ["WEIGHTS", "field", "graph", "linear", "model", "node", "onnx", "raw", "value", "varint"]
