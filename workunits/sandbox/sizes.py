"""Caps on operators that can make a huge tensor out of a few bytes, as far as their arguments are constants."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, numpy_helper

from workunits.sandbox.operators import name_of
from workunits.sandbox.report import AdmissionLimits, Problem

_CONSTANT_ELEMENTS_MAX = 64  # a shape or a pair of pads for each axis; larger constants are no arguments of these


def element_count(dims: Iterable[int]) -> int:
    """Return how many elements a shape has; unknown and negative extents count as one."""
    return math.prod(max(1, int(extent)) if extent else 0 for extent in dims)


def check_constant_sizes(graph: GraphProto, limits: AdmissionLimits) -> list[Problem]:
    """Return a problem for each node whose constant arguments ask for more than `tensor_elements_max` elements."""
    return list(_check_graph(graph, {}, limits))


def _check_graph(graph: GraphProto, outer: dict[str, Any], limits: AdmissionLimits) -> Iterator[Problem]:
    known = outer | _constants(graph)
    for node in graph.node:
        elements = _elements_made(node, known, limits)
        if elements > limits.tensor_elements_max:
            yield Problem(
                code="tensor_too_large",
                where=name_of(node),
                detail=f"{node.op_type} asks for more than {limits.tensor_elements_max} elements.",
            )
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _check_graph(attribute.g, known, limits)


def _constants(graph: GraphProto) -> dict[str, Any]:
    found = {tensor.name: _small_value(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.output:
            for attribute in node.attribute:
                if attribute.name == "value":
                    found[node.output[0]] = _small_value(attribute.t)
                elif attribute.name in ("value_ints", "value_floats"):
                    found[node.output[0]] = np.array(attribute.ints or attribute.floats)
                elif attribute.name in ("value_int", "value_float"):
                    found[node.output[0]] = np.array(attribute.i or attribute.f)
    return {name: value for name, value in found.items() if value is not None}


def _small_value(tensor: TensorProto) -> Any:
    numeric = tensor.data_type in (TensorProto.INT64, TensorProto.INT32, TensorProto.FLOAT, TensorProto.DOUBLE)
    if not numeric or element_count(tensor.dims) > _CONSTANT_ELEMENTS_MAX:
        return None
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError):
        return None  # onnx.checker will say what is wrong with it


def _elements_made(node: NodeProto, known: dict[str, Any], limits: AdmissionLimits) -> float:
    """Return how many elements the node is certain to make, 0 where its arguments are not constants."""
    inputs = [known.get(name) if name else None for name in node.input]

    def argument(index: int) -> Any:
        return inputs[index] if index < len(inputs) else None

    op = node.op_type
    if op in ("ConstantOfShape", "RandomNormal", "RandomUniform"):
        shape = next((list(a.ints) for a in node.attribute if a.name == "shape"), argument(0))
        return 0 if shape is None else element_count(shape)
    if op in ("Expand", "Tile", "Reshape"):
        return 0 if argument(1) is None else element_count(np.ravel(argument(1)))
    if op == "Range" and all(argument(index) is not None for index in range(3)):
        start, limit, delta = (float(np.ravel(argument(index))[0]) for index in range(3))
        return 0 if delta == 0 or not math.isfinite((limit - start) / delta) else max(0.0, (limit - start) / delta)
    if op == "Pad":
        return 0 if argument(1) is None else float(max(np.ravel(argument(1)), default=0))
    if op in ("Resize", "Upsample"):
        return _resize_elements(argument(2 if op == "Resize" else 1), argument(3), limits)
    if op in ("OneHot", "EyeLike"):
        return 0 if argument(1) is None else float(np.ravel(argument(1))[0])
    return 0


def _resize_elements(scales: Any, target: Any, limits: AdmissionLimits) -> float:
    if target is not None and np.size(target):
        return element_count(np.ravel(target))
    if scales is not None and np.size(scales) and float(np.prod(np.ravel(scales))) > limits.resize_scale_max:
        return math.inf
    return 0
