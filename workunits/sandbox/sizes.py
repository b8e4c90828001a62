"""Caps on operators that can make a huge tensor out of a few bytes, as far as their arguments are constants."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, numpy_helper

from workunits.sandbox.operators import name_of
from workunits.sandbox.report import AdmissionLimits, Problem

_ARGUMENTS_READ = 4
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
    arguments = [known.get(name) if name else None for name in node.input]
    arguments += [None] * (_ARGUMENTS_READ - len(arguments))
    shape = next((list(item.ints) for item in node.attribute if item.name == "shape"), None)
    made: float = 0
    match node.op_type:
        case "ConstantOfShape" | "RandomNormal" | "RandomUniform":
            made = _product(shape if shape is not None else arguments[0])
        case "Expand" | "Tile" | "Reshape":
            made = _product(arguments[1])
        case "Range":
            made = _range_elements(arguments[:3])
        case "Pad":
            made = float(max(np.ravel(arguments[1]), default=0)) if arguments[1] is not None else 0
        case "OneHot":
            made = _product(arguments[1])
        case "Resize":
            made = _resize_elements(arguments[2], arguments[3], limits)
        case "Upsample":
            made = _resize_elements(arguments[1], None, limits)
    return made


def _product(shape: Any) -> float:
    """Return the elements that a shape asks for, 0 where it is not known; some operators take it as floats."""
    if shape is None:
        return 0
    extents = np.ravel(shape)
    return element_count(extents) if np.isfinite(extents).all() else math.inf


def _range_elements(arguments: list[Any]) -> float:
    if any(argument is None for argument in arguments):
        return 0
    start, limit, delta = (float(np.ravel(argument)[0]) for argument in arguments)
    return max(0.0, (limit - start) / delta) if delta else 0


def _resize_elements(scales: Any, target: Any, limits: AdmissionLimits) -> float:
    if target is not None and np.size(target):
        return _product(target)
    if scales is not None and np.size(scales) and float(np.prod(np.ravel(scales))) > limits.resize_scale_max:
        return math.inf
    return 0
