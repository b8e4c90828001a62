"""Inputs that a model could meet: random, seeded, within the bounds that the graph itself sets.

Zeros would show nothing of how honest computers differ. Whole numbers that index a table stay inside it; those of which
nothing is known, and masks, are ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from onnx import GraphProto, NodeProto

from workunits.sandbox.report import Arrays

SEED: Final = 20_261
_LOOKING_THROUGH = frozenset({"Cast", "Identity", "Unsqueeze", "Squeeze", "Reshape", "Flatten", "Transpose"})
# Rows take turns: what networks are trained on is about one in size, or a share. Larger numbers saturate most of them.
_SCALES: Final = ("normal", "uniform")


def index_bounds(graph: GraphProto) -> dict[str, int]:
    """Return for inputs that index a constant table how many entries it has; the smallest, where there are several."""
    sizes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    source = {value.name: value.name for value in graph.input if value.name not in sizes}
    bounds: dict[str, int] = {}
    for name, size in _lookups(graph, source, sizes):
        bounds[name] = min(size, bounds.get(name, size))
    return bounds


def _lookups(graph: GraphProto, source: dict[str, str], sizes: dict[str, list[int]]) -> Iterator[tuple[str, int]]:
    for node in graph.node:
        if node.op_type in _LOOKING_THROUGH and node.input and node.input[0] in source:
            source[node.output[0]] = source[node.input[0]]
        elif node.op_type == "Gather" and node.input[0] in sizes and node.input[1] in source:
            dims, axis = sizes[node.input[0]], _axis(node)
            if -len(dims) <= axis < len(dims) and dims[axis] > 0:
                yield source[node.input[1]], dims[axis]


def _axis(node: NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)


def make_rows(inputs: list[dict[str, Any]], bounds: dict[str, int], rows: int, dtypes: dict[str, Any]) -> Arrays:
    """Return a feed of `rows` random rows; the same for the same model, everywhere."""
    random = np.random.Generator(np.random.PCG64(SEED))
    return {spec["name"]: _make(spec, bounds, rows, np.dtype(dtypes[spec["dtype"]]), random) for spec in inputs}


def _make(
    spec: dict[str, Any], bounds: dict[str, int], rows: int, dtype: np.dtype[Any], random: np.random.Generator
) -> np.ndarray[Any, Any]:
    shape = (rows, *spec["shape"])
    if dtype.kind == "f":
        return np.stack([_floats(_SCALES[row % len(_SCALES)], shape[1:], random) for row in range(rows)]).astype(dtype)
    if spec["name"] in bounds:
        return random.integers(0, min(bounds[spec["name"]], np.iinfo(dtype).max), size=shape).astype(dtype)
    if dtype.kind in "iu" and dtype.itemsize == 1:
        return random.integers(0, np.iinfo(dtype).max, size=shape).astype(dtype)
    return np.ones(shape, dtype)


def _floats(scale: str, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray[Any, Any]:
    if scale == "normal":
        return random.standard_normal(shape)
    return random.random(shape)
