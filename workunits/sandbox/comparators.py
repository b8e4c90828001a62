"""Chooses how an output of different cars should be compared, from what it is and how the graph makes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from onnx import GraphProto, NodeProto

COMPARATORS: Final = ("exact", "logits", "embedding", "dense")
TOLERANCE_FP32: Final = 1e-4  # relative L2: ten times below the distance to the next cheaper precision
TOLERANCE_FP16: Final = 5e-3
EMBEDDING_FLOATS_MIN: Final = 64

_TRANSPARENT = frozenset({"Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten"})
_NORM_GUARDS = frozenset({"Clip", "Max", "Expand", "Add", *_TRANSPARENT})
_NORM_DEPTH_MAX = 6


def choose(dtype: str, shape: list[int], ending: str) -> str:
    """Return the default comparator of an output whose row has this dtype and shape."""
    if not dtype.startswith("F"):
        return "exact"
    if ending == "softmax":
        return "dense"
    if ending == "normalised" or (len(shape) == 1 and shape[0] >= EMBEDDING_FLOATS_MIN):
        return "embedding"
    return "logits" if len(shape) == 1 else "dense"


def default_tolerance(comparator: str, dtype: str) -> float:
    """Return the relative L2 distance at which two rows still agree; 0 for exact outputs."""
    if comparator == "exact":
        return 0.0
    return TOLERANCE_FP16 if dtype == "F16" else TOLERANCE_FP32


def endings(graph: GraphProto) -> dict[str, str]:
    """Return for each output how it ends: `softmax` (a distribution), `normalised` (divided by a norm) or `other`."""
    makers = {name: node for node in graph.node for name in node.output if name}
    return {value.name: _ending(value.name, makers) for value in graph.output}


def _ending(name: str, makers: dict[str, NodeProto]) -> str:
    node = makers.get(name)
    while node is not None and node.op_type in _TRANSPARENT and node.input:
        node = makers.get(node.input[0])
    if node is None:
        return "other"
    if node.op_type == "Softmax":
        return "softmax"
    if node.op_type == "LpNormalization":
        return "normalised"
    if node.op_type == "Normalizer":  # ai.onnx.ml's; by its sum (L1) it makes probabilities
        norm = next((attribute.s for attribute in node.attribute if attribute.name == "norm"), b"MAX")
        return "normalised" if norm == b"L2" else "softmax"
    if node.op_type == "Div" and _is_norm(node.input[1], makers):
        return "normalised"
    return "other"


def _is_norm(name: str, makers: dict[str, NodeProto]) -> bool:
    return any(node.op_type in ("ReduceL2", "ReduceL1", "Sqrt") for node in _through_guards(name, makers))


def _through_guards(name: str, makers: dict[str, NodeProto]) -> Iterator[NodeProto]:
    """Yield the makers of `name`, looking through what exporters put around a norm (a floor, an epsilon, a reshape)."""
    for _ in range(_NORM_DEPTH_MAX):
        node = makers.get(name)
        if node is None:
            return
        yield node
        if node.op_type not in _NORM_GUARDS:
            return
        made = [part for part in node.input if part in makers and makers[part].op_type != "Constant"]
        if not made:
            return
        name = made[0]
