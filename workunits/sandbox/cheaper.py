"""The model as somebody would run it to save work: weights, and what they are multiplied by, in a lower precision.

Doubles become float32, floats become half, half floats become 8 bits. What this changes in an output is what a
tolerance must stay below.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

Array = np.ndarray[Any, Any]

_FLOATS: Final = (TensorProto.DOUBLE, TensorProto.FLOAT, TensorProto.FLOAT16)
_HALF_MAX: Final = 65_504.0
_INT8_MAX: Final = 127.0
# Inputs of these are rounded as well where a weight is the other factor, as every faster unit does.
_PRODUCTS: Final = frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose", "FusedMatMul", "FusedGemm", "FusedConv"})
_LINEAR: Final = frozenset({"LinearClassifier", "LinearRegressor", "SVMClassifier", "SVMRegressor"})


def make_cheaper(model_bytes: bytes) -> bytes | None:
    """Return the model in the next lower precision, or None where it has no weights that could be rounded."""
    model = ModelProto.FromString(model_bytes)
    _list_constants(model.graph)
    kind = _widest(model.graph)
    if kind is None:
        return None
    rounded = _round_weights(model.graph, kind, _ROUNDINGS[kind])
    if kind != TensorProto.FLOAT16:
        _round_factors(model.graph, rounded, kind)
    return bytes(model.SerializeToString())


def _list_constants(graph: GraphProto) -> None:
    """Put among the initializers what the exporter has made constant by an operator."""
    others: list[NodeProto] = []
    for node in graph.node:
        tensor = next((attribute.t for attribute in node.attribute if attribute.name == "value"), None)
        if node.op_type == "Constant" and tensor is not None:
            graph.initializer.add().CopyFrom(tensor)
            graph.initializer[-1].name = node.output[0]
        else:
            others.append(NodeProto.FromString(node.SerializeToString()))
    del graph.node[:]
    graph.node.extend(others)


def _widest(graph: GraphProto) -> int | None:
    """Return the widest type among weights; what counts is whole tensors, not single constants."""
    present = {tensor.data_type for tensor in graph.initializer if _is_weight(tensor)}
    if any(node.op_type in _LINEAR for node in graph.node):
        present.add(TensorProto.FLOAT)
    return next((kind for kind in _FLOATS if kind in present), None)


def _is_weight(tensor: TensorProto) -> bool:
    return tensor.data_type in _FLOATS and len(tensor.dims) > 0 and int(np.prod(tensor.dims)) > 1


def _round_weights(graph: GraphProto, kind: int, rounding: Callable[[Array], Array]) -> set[str]:
    names = set()
    for tensor in graph.initializer:
        if tensor.data_type == kind and _is_weight(tensor):
            tensor.CopyFrom(numpy_helper.from_array(rounding(numpy_helper.to_array(tensor)), tensor.name))
            names.add(tensor.name)
    for node in graph.node:
        for attribute in node.attribute if node.op_type in _LINEAR and kind == TensorProto.FLOAT else ():
            if attribute.name in ("coefficients", "support_vectors"):
                values = rounding(np.array(attribute.floats, np.float32))
                del attribute.floats[:]
                attribute.floats.extend(values.tolist())
    return names


def _round_factors(graph: GraphProto, rounded: set[str], kind: int) -> None:
    """Put a cast to the lower precision and back before each product of a rounded weight."""
    lower = TensorProto.FLOAT if kind == TensorProto.DOUBLE else TensorProto.FLOAT16
    nodes: list[NodeProto] = []
    done: dict[str, str] = {}
    for node in graph.node:
        if node.op_type in _PRODUCTS and any(name in rounded for name in node.input[:2]):
            for place, name in enumerate(node.input[:2]):
                if name in rounded:
                    continue
                if name not in done:
                    done[name] = f"{name}/rounded"
                    nodes.append(helper.make_node("Cast", [name], [f"{name}/lower"], to=lower))
                    nodes.append(helper.make_node("Cast", [f"{name}/lower"], [done[name]], to=kind))
                node.input[place] = done[name]
        nodes.append(node)
    kept = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)


def _to_half(values: Array) -> Array:
    return np.clip(values, -_HALF_MAX, _HALF_MAX).astype(np.float16).astype(np.float32)


def _to_single(values: Array) -> Array:
    return values.astype(np.float32).astype(np.float64)


def _to_8_bits(values: Array) -> Array:
    wide = values.astype(np.float32)
    step = float(np.abs(wide).max(initial=0.0)) / _INT8_MAX
    return (np.rint(wide / step) * step if step > 0 else wide).astype(np.float16)


_ROUNDINGS: Final[dict[int, Callable[[Array], Array]]] = {
    TensorProto.DOUBLE: _to_single,
    TensorProto.FLOAT: _to_half,
    TensorProto.FLOAT16: _to_8_bits,
}
