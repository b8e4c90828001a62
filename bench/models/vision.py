"""Two small vision networks with outputs of other kinds: a list of detections, and a mask beside its shares.

Random weights from a seed. The detector chooses its best sixteen boxes by score and suppresses nothing, as networks of
the DETR family do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper

from bench.models.graph import Array, GraphWriter

SIDE: Final = 32
CELLS: Final = (SIDE // 4) ** 2
KINDS: Final = 5
KEPT: Final = 16


class _Trunk:
    """Three convolutions: `image` F32 [3, 32, 32] to 24 channels; the second and third halve the sides if told to."""

    def __init__(self, seed: int, *, stride: int) -> None:
        self.random = np.random.default_rng(seed)
        self.graph = GraphWriter()
        self.node = self.graph.node
        first = self.conv("image", "first", 3, 16)
        second = self.conv(first, "second", 16, 24, stride=stride)
        self.out = self.conv(second, "third", 24, 24, stride=stride)

    def weights(self, *shape: int, fan_in: int) -> Array:
        values: Array = self.random.normal(size=shape) / np.sqrt(fan_in)
        return values.astype(np.float32)

    def conv(self, x: str, out: str, channels_in: int, channels: int, *, stride: int = 1, size: int = 3) -> str:
        fan_in = size * size * channels_in
        weight = self.graph.constant(f"{out}.weight", self.weights(channels, channels_in, size, size, fan_in=fan_in))
        bias = self.graph.constant(f"{out}.bias", self.weights(channels, fan_in=4))
        pads = [size // 2] * 4
        self.node("Conv", [x, weight, bias], f"{out}.sum", pads=pads, strides=[stride, stride])
        return self.node("Relu", [f"{out}.sum"], out) if size > 1 else f"{out}.sum"

    def cells(self, x: str, out: str, channels: int) -> str:
        """Turn a map into one row of values a cell."""
        shape = self.graph.constant(f"{out}.shape", np.array([0, channels, -1], np.int64))
        return self.node("Transpose", [self.node("Reshape", [x, shape], f"{out}.flat")], out, perm=[0, 2, 1])

    def number(self, name: str, value: Any, dtype: Any = np.float32) -> str:
        return self.graph.constant(name, np.array(value, dtype))


def make_detector() -> onnx.ModelProto:
    """Return a detector: `image` F32 [3, 32, 32] to `detections` F32 [16, 6], as x1 y1 x2 y2 score class."""
    made = _Trunk(31, stride=2)
    raw = made.cells(made.conv(made.out, "boxes.head", 24, 4, size=1), "boxes.raw", 4)
    kinds = made.cells(made.conv(made.out, "kinds.head", 24, KINDS, size=1), "kinds.raw", KINDS)
    shares = made.node("Sigmoid", [kinds], "kinds.shares")
    best = made.node("ReduceMax", [shares], "best", axes=[2], keepdims=0)
    made.graph.constant("kept", np.array([KEPT], np.int64))
    made.node("TopK", [best, "kept"], "scores", "places", axis=1)
    axis = made.number("axis_2", [2], np.int64)
    column = made.node("Unsqueeze", ["places", axis], "places.column")
    wide = made.node("Expand", [column, made.number("box.shape", [1, KEPT, 4], np.int64)], "places.boxes")
    chosen = made.node("GatherElements", [raw, wide], "boxes.chosen", axis=1)
    made.node("Split", [chosen, made.number("two", [2, 2], np.int64)], "centre", "extent", axis=2)
    middle = made.node("Mul", [made.node("Sigmoid", ["centre"], "centre.share"), made.number("side", 640.0)], "middle")
    half = made.node("Mul", [made.node("Exp", ["extent"], "extent.exp"), made.number("size", 20.0)], "half")
    low, high = made.node("Sub", [middle, half], "low"), made.node("Add", [middle, half], "high")
    kind = made.node("ArgMax", [shares], "kind", axis=2, keepdims=0)
    kept = made.node("GatherElements", [kind, "places"], "kind.kept", axis=1)
    number = made.node("Cast", [kept], "kind.number", to=TensorProto.FLOAT)
    parts = [low, high, made.node("Unsqueeze", ["scores", axis], "scores.column")]
    parts.append(made.node("Unsqueeze", [number, axis], "kind.column"))
    made.node("Concat", parts, "detections", axis=2)
    return _model(made, "bench-detector", [("detections", TensorProto.FLOAT, (KEPT, 6))])


def make_segmenter() -> onnx.ModelProto:
    """Return a segmenter: `image` F32 [3, 32, 32] to `shares` F32 [5, 32, 32] and `mask` I64 [32, 32]."""
    made = _Trunk(32, stride=1)
    scores = made.conv(made.out, "head", 24, KINDS, size=1)
    made.node("Softmax", [scores], "shares", axis=1)
    made.node("ArgMax", [scores], "mask", axis=1, keepdims=0)
    outputs = [("shares", TensorProto.FLOAT, (KINDS, SIDE, SIDE)), ("mask", TensorProto.INT64, (SIDE, SIDE))]
    return _model(made, "bench-segmenter", outputs)


def _model(made: _Trunk, name: str, outputs: Sequence[tuple[str, int, tuple[int, ...]]]) -> onnx.ModelProto:
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["rows", 3, SIDE, SIDE])
    values = [helper.make_tensor_value_info(value, kind, ["rows", *shape]) for value, kind, shape in outputs]
    return made.graph.model(name, inputs=[image], outputs=values)
