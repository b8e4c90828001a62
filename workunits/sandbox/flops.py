"""Counts the floating-point operations that one row costs: the basis of unit sizes and of pay.

Counted on the graph as the optimiser leaves it, from the shapes of a real run, and only where a node's value depends
on the input: constants that fold away, dead branches and padding that ignores the row earn nothing.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import onnxruntime as ort
from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto

from workunits.sandbox.report import refuse
from workunits.sandbox.session import open_session

Shape = tuple[int, ...]
Shapes = dict[str, Shape]

# They move or relabel data; counting them would pay for copies.
_FREE = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Expand", "Tile", "Cast", "Dropout"})
# They read a tensor's extent, not its values: what follows from them alone is the same for every row.
_EXTENT_ONLY = frozenset({"Shape", "Size"})


def count_per_row(model_bytes: bytes, feed: dict[str, np.ndarray[Any, Any]]) -> int:
    """Return the FLOPs of one row (at least 1); `feed` holds one row. Raises Refused when it cannot be traced."""
    graph_bytes = _optimised(model_bytes)
    model = ModelProto.FromString(graph_bytes)
    nodes = _live_nodes(model.graph)
    shapes = _fixed_shapes(model.graph) | {name: array.shape for name, array in feed.items()}
    exposed = _expose(model.graph, nodes, shapes)
    session = open_session(model.SerializeToString(), ort.GraphOptimizationLevel.ORT_DISABLE_ALL)
    try:
        arrays = session.run(exposed, feed) if exposed else []
    except Exception as error:  # noqa: BLE001  onnxruntime raises a dozen unrelated classes
        raise refuse("flops_not_counted", "", f"The work of a row cannot be counted: {error}") from None
    floats = set()
    for name, array in zip(exposed, arrays, strict=True):
        if isinstance(array, np.ndarray):
            shapes[name] = array.shape
            if array.dtype.kind == "f":
                floats.add(name)
    return max(1, sum(_node_flops(node, shapes, floats) for node in nodes))


def _optimised(model_bytes: bytes) -> bytes:
    """Return the model after onnxruntime's basic optimisations (folding, dead code), through a file in memory."""
    descriptor = os.memfd_create("optimised")
    try:
        path = f"/proc/self/fd/{descriptor}"
        open_session(model_bytes, ort.GraphOptimizationLevel.ORT_ENABLE_BASIC, save_to=path)
        return os.pread(descriptor, os.lseek(descriptor, 0, os.SEEK_END), 0)
    finally:
        os.close(descriptor)


def _live_nodes(graph: GraphProto) -> list[NodeProto]:
    """Return the nodes between the values of an input and an output; the graph is in topological order.

    onnxruntime keeps nodes that lead to no output, so both directions are walked.
    """
    wanted = {value.name for value in graph.output}
    needed = []
    for node in reversed(graph.node):
        if any(name in wanted for name in node.output):
            needed.append(node)
            wanted.update(node.input)
            wanted.update(_outer_names(node))
    live = {value.name for value in graph.input} - {tensor.name for tensor in graph.initializer}
    nodes = []
    for node in reversed(needed):
        if node.op_type not in _EXTENT_ONLY and any(name in live for name in (*node.input, *_outer_names(node))):
            nodes.append(node)
            live.update(name for name in node.output if name)
    return nodes


def _outer_names(node: NodeProto) -> set[str]:
    """Return every name that the node's branches read: some of them are the surrounding graph's."""
    names = set()
    for attribute in node.attribute:
        if attribute.HasField("g"):
            for inner in attribute.g.node:
                names.update(inner.input)
                names |= _outer_names(inner)
            names.update(value.name for value in attribute.g.output)
    return names


def _fixed_shapes(graph: GraphProto) -> Shapes:
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].HasField("t"):
            shapes[node.output[0]] = tuple(node.attribute[0].t.dims)
    return shapes


def _expose(graph: GraphProto, nodes: list[NodeProto], known: Shapes) -> list[str]:
    """Make the live nodes' outputs, and what their operands are, outputs of the graph; return their names."""
    names: dict[str, None] = {}
    for node in nodes:
        names.update({name: None for name in node.output if name})
        if node.op_type in _COUNTERS:
            names.update({name: None for name in node.input if name and name not in known})
    have = {value.name for value in graph.output}
    graph.output.extend(ValueInfoProto(name=name) for name in names if name not in have)
    return list(names)


def _node_flops(node: NodeProto, shapes: Shapes, floats: set[str]) -> int:
    counter = _COUNTERS.get(node.op_type)
    if counter is not None:
        return int(counter(node, shapes))
    if node.op_type in _FREE:
        return 0
    return sum(math.prod(shapes[name]) for name in node.output if name in floats)


def _shape(node: NodeProto, shapes: Shapes, index: int) -> Shape:
    name = node.input[index] if index < len(node.input) else ""
    return shapes.get(name, ())


def _out(node: NodeProto, shapes: Shapes) -> int:
    return math.prod(shapes.get(node.output[0], ()))


def _ints(node: NodeProto, name: str) -> list[int]:
    return next((list(item.ints) for item in node.attribute if item.name == name), [])


def _floats_count(node: NodeProto, *names: str) -> int:
    return sum(len(item.floats) for item in node.attribute if item.name in names)


def _int(node: NodeProto, name: str, default: int = 0) -> int:
    return next((item.i for item in node.attribute if item.name == name), default)


def _matmul(node: NodeProto, shapes: Shapes) -> int:
    left = _shape(node, shapes, 0)
    transposed = bool(_int(node, "transA"))
    inner = (left[-2] if transposed and len(left) > 1 else left[-1]) if left else 1
    return 2 * _out(node, shapes) * inner


def _conv(weight_index: int) -> Callable[[NodeProto, Shapes], int]:
    return lambda node, shapes: 2 * _out(node, shapes) * math.prod(_shape(node, shapes, weight_index)[1:])


def _conv_transpose(node: NodeProto, shapes: Shapes) -> int:
    return 2 * math.prod(_shape(node, shapes, 0)) * math.prod(_shape(node, shapes, 1)[1:])


def _einsum(node: NodeProto, shapes: Shapes) -> int:
    """Twice the product of all index extents: what a direct evaluation would do."""
    equation = next(item.s.decode() for item in node.attribute if item.name == "equation").replace(" ", "")
    extents: dict[str, int] = {}
    for index, term in enumerate(equation.split("->")[0].split(",")):
        letters = term.replace("...", "")
        shape = _shape(node, shapes, index)
        extents.update(zip(letters[::-1], shape[::-1], strict=False))
    return 2 * math.prod(extents.values())


def _recurrent(node: NodeProto, shapes: Shapes) -> int:
    steps = math.prod(_shape(node, shapes, 0)[:2])
    weights = math.prod(_shape(node, shapes, 1)) + math.prod(_shape(node, shapes, 2))
    return 2 * steps * weights


def _attention(node: NodeProto, shapes: Shapes) -> int:
    """Two products of every query with every key: scores, and their sum of values."""
    query, key = _shape(node, shapes, 0), _shape(node, shapes, 1)
    return 4 * math.prod(query) * (key[-2] if len(key) > 1 else 1)


def _trees(node: NodeProto, shapes: Shapes) -> int:
    """One comparison a level, in every tree, as deep as a balanced tree of that size."""
    ids = _ints(node, "nodes_treeids")
    roots = _ints(node, "tree_roots")
    trees = len(set(ids)) or len(roots) or 1
    nodes = len(ids) or len(_ints(node, "nodes_featureids")) or 1
    rows = _shape(node, shapes, 0)[:1] or (1,)
    return rows[0] * trees * math.ceil(math.log2(nodes / trees + 1))


def _linear(node: NodeProto, _shapes: Shapes) -> int:
    return 2 * _floats_count(node, "coefficients")


def _support_vectors(node: NodeProto, _shapes: Shapes) -> int:
    return 3 * _floats_count(node, "support_vectors") + 2 * _floats_count(node, "coefficients")


_COUNTERS: Final[dict[str, Callable[[NodeProto, Shapes], int]]] = {
    "MatMul": _matmul,
    "Gemm": _matmul,
    "FusedMatMul": _matmul,
    "FusedGemm": _matmul,
    "MatMulInteger": _matmul,
    "MatMulIntegerToFloat": _matmul,
    "QLinearMatMul": _matmul,
    "MatMulNBits": _matmul,
    "Conv": _conv(1),
    "ConvInteger": _conv(1),
    "FusedConv": _conv(1),
    "QLinearConv": _conv(3),
    "ConvTranspose": _conv_transpose,
    "Einsum": _einsum,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _recurrent,
    "Attention": _attention,
    "MultiHeadAttention": _attention,
    "TreeEnsembleClassifier": _trees,
    "TreeEnsembleRegressor": _trees,
    "TreeEnsemble": _trees,
    "LinearClassifier": _linear,
    "LinearRegressor": _linear,
    "SVMClassifier": _support_vectors,
    "SVMRegressor": _support_vectors,
}
