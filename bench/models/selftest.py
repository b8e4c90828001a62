"""The three small graphs of the car's self-test, with inputs and the outputs they should give.

Run as `python -m bench.models.selftest [FOLDER]`; writes NAME.onnx, NAME.inputs.safetensors and
NAME.outputs.safetensors, by default to where the client's package has them. The same NumPy gives the same bytes. The
expected outputs come from ONNX's reference evaluator, not from the runtime that they are to judge.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from safetensors.numpy import save

from bench.models.graph import Array, GraphWriter

FOLDER: Final = Path(__file__).parents[2] / "client" / "fleetclient" / "selftest" / "graphs"
SEED: Final = 20_260
ROWS: Final = 16

CHANNELS, SIDE = 3, 16
TOKENS, WIDTH, HEADS = 12, 48, 4
PIXELS: Final = 64
# Weights of 7 bits and activations of 8: no sum of two products leaves 16 bits, so every processor gives the same.
SAFE_WEIGHT_MAX: Final = 63
PROBES: Final = 4
X_SCALE, W_SCALE = 1.0 / 255.0, 1.0 / 127.0
INT16_MAX: Final = 32_767


class _Maker:
    """One graph: random numbers of its own, and a writer."""

    def __init__(self, number: int) -> None:
        self.random = np.random.default_rng(SEED + number)
        self.graph = GraphWriter()
        self.node = self.graph.node

    def weights(self, *shape: int, fan_in: int) -> npt.NDArray[np.float32]:
        values: npt.NDArray[np.float64] = self.random.normal(size=shape) / np.sqrt(fan_in)
        return values.astype(np.float32)

    def conv(self, x: str, out: str, channels_in: int, channels: int, *, stride: int = 1) -> str:
        weight = self.graph.constant(f"{out}.weight", self.weights(channels, channels_in, 3, 3, fan_in=9 * channels_in))
        bias = self.graph.constant(f"{out}.bias", self.weights(channels, fan_in=4))
        self.node("Conv", [x, weight, bias], f"{out}.sum", pads=[1, 1, 1, 1], strides=[stride, stride])
        return self.node("Relu", [f"{out}.sum"], out)

    def linear(self, x: str, out: str, width_in: int, width: int) -> str:
        weight, bias = self.weights(width, width_in, fan_in=width_in), self.weights(width, fan_in=width_in)
        return self.graph.linear(x, weight, bias, out)


def make_convolution() -> tuple[onnx.ModelProto, dict[str, Array]]:
    """Return a residual network in small: `image` F32 [3, 16, 16] to `logits` F32 [10]."""
    maker = _Maker(1)
    first = maker.conv("image", "first", CHANNELS, 16)
    second = maker.conv(first, "second", 16, 16)
    joined = maker.node("Add", [maker.conv(second, "third", 16, 16), first], "joined")
    fourth = maker.conv(joined, "fourth", 16, 32, stride=2)
    maker.node("GlobalAveragePool", [fourth], "pooled")
    maker.node("Flatten", ["pooled"], "flat")
    maker.linear("flat", "logits", 32, 10)
    model = maker.graph.model(
        "selftest-convolution",
        inputs=[_value("image", CHANNELS, SIDE, SIDE)],
        outputs=[_value("logits", 10)],
    )
    return model, {"image": maker.random.normal(size=(ROWS, CHANNELS, SIDE, SIDE)).astype(np.float32)}


def make_transformer() -> tuple[onnx.ModelProto, dict[str, Array]]:
    """Return one encoder block: `tokens` F32 [12, 48] to `embedding` F32 [48], the mean over the tokens."""
    maker = _Maker(2)
    attended = _attention(maker, "tokens")
    maker.node("Add", ["tokens", attended], "attention.sum")
    hidden = _norm(maker, "attention.sum", "attention.norm")
    maker.linear(hidden, "wide", WIDTH, 2 * WIDTH)
    root_half = maker.graph.constant("root_half", np.array(0.5**0.5, np.float32))
    maker.node("Erf", [maker.node("Mul", ["wide", root_half], "wide.scaled")], "wide.erf")
    one = maker.graph.constant("one", np.array(1.0, np.float32))
    half = maker.graph.constant("half", np.array(0.5, np.float32))
    maker.node("Mul", ["wide", maker.node("Add", ["wide.erf", one], "wide.erf.one")], "wide.gate")
    maker.node("Mul", ["wide.gate", half], "wide.gelu")
    maker.linear("wide.gelu", "narrow", 2 * WIDTH, WIDTH)
    maker.node("Add", [hidden, "narrow"], "block.sum")
    _norm(maker, "block.sum", "block")
    maker.node("ReduceMean", ["block"], "embedding", axes=[1], keepdims=0)
    model = maker.graph.model(
        "selftest-transformer", inputs=[_value("tokens", TOKENS, WIDTH)], outputs=[_value("embedding", WIDTH)]
    )
    return model, {"tokens": maker.random.normal(size=(ROWS, TOKENS, WIDTH)).astype(np.float32)}


def make_quantised() -> tuple[onnx.ModelProto, dict[str, Array]]:
    """Return static int8 in QDQ form: `pixels` F32 [64] to `scores` F32 [16] and `saturation` F32 [4].

    `scores` must be the same everywhere. `saturation` tells processors apart whose 8-bit products are added in 16 bits
    and cut off there (x86 without VNNI) from those that add in 32.
    """
    maker = _Maker(3)
    # The last quarter of the rows is as bright as can be: only there do the probes saturate.
    pixels = np.rint(maker.random.uniform(0, 96, size=(ROWS, PIXELS)))
    pixels[-ROWS // 4 :] = 255
    safe = maker.random.integers(-SAFE_WEIGHT_MAX, SAFE_WEIGHT_MAX + 1, size=(PIXELS, 16), dtype=np.int8)
    probing = np.full((PIXELS, PROBES), 127, np.int8)
    quantised = _quantise(maker, "pixels", "x", X_SCALE)
    _quantised_matmul(maker, quantised, safe, "scores", out_scale=1.0 / 16.0, zero_at=128)
    _quantised_matmul(maker, quantised, probing, "saturation", out_scale=0.5)
    model = maker.graph.model(
        "selftest-quantised",
        inputs=[_value("pixels", PIXELS)],
        outputs=[_value("scores", 16), _value("saturation", PROBES)],
    )
    return model, {"pixels": (pixels * X_SCALE).astype(np.float32)}


MAKERS: Final[Mapping[str, Callable[[], tuple[onnx.ModelProto, dict[str, Array]]]]] = {
    "convolution": make_convolution,
    "transformer": make_transformer,
    "quantised": make_quantised,
}


def saturated_probe(pixels: Array) -> Array:
    """Return what `saturation` is where sums of two 8-bit products are cut off at 16 bits, then added up."""
    activations = np.rint(pixels / X_SCALE).astype(np.int64)
    pairs = (activations[:, 0::2] + activations[:, 1::2]) * 127
    sums = np.minimum(pairs, INT16_MAX).sum(axis=1)
    quanta = np.clip(np.rint(sums * X_SCALE * W_SCALE / 0.5), 0, 255)
    return np.repeat((quanta * 0.5).astype(np.float32)[:, None], PROBES, axis=1)


def write_graphs(folder: Path) -> None:
    """Write all files of the three graphs."""
    for name, make in MAKERS.items():
        model, inputs = make()
        names = [output.name for output in model.graph.output]
        found = _evaluate(model, names, inputs)
        outputs = dict(zip(names, found, strict=True))
        if name == "quantised":
            outputs["saturation_16_bit"] = saturated_probe(inputs["pixels"])
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString())
        (folder / f"{name}.inputs.safetensors").write_bytes(save(dict(inputs)))
        (folder / f"{name}.outputs.safetensors").write_bytes(save(outputs))


def _evaluate(model: onnx.ModelProto, names: list[str], inputs: Mapping[str, Array]) -> list[Array]:
    if any(node.op_type == "DequantizeLinear" for node in model.graph.node):
        # The reference knows quantisation from opset 19 on, with the same meaning.
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        copy.opset_import[0].version = 19
        model = copy
    outputs: Any = ReferenceEvaluator(model).run(names, dict(inputs))
    return list(outputs)


def _value(name: str, *shape: int) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", *shape])


def _attention(maker: _Maker, x: str) -> str:
    head = WIDTH // HEADS
    split = maker.graph.constant("split", np.array([0, 0, HEADS, head], np.int64))
    parts = {}
    for name, order in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3])):
        flat = maker.linear(x, name, WIDTH, WIDTH)
        parted = maker.node("Reshape", [flat, split], f"{name}.heads")
        parts[name] = maker.node("Transpose", [parted], f"{name}.turned", perm=order)
    scores = maker.node("MatMul", [parts["query"], parts["key"]], "scores.raw")
    scale = maker.graph.constant("scale", np.array(head**-0.5, np.float32))
    shares = maker.node("Softmax", [maker.node("Mul", [scores, scale], "scores")], "shares", axis=-1)
    mixed = maker.node("MatMul", [shares, parts["value"]], "mixed")
    turned = maker.node("Transpose", [mixed], "mixed.turned", perm=[0, 2, 1, 3])
    merge = maker.graph.constant("merge", np.array([0, 0, WIDTH], np.int64))
    return maker.linear(maker.node("Reshape", [turned, merge], "mixed.flat"), "attended", WIDTH, WIDTH)


def _norm(maker: _Maker, x: str, out: str) -> str:
    weight = 1.0 + 0.1 * maker.weights(WIDTH, fan_in=1)
    return maker.graph.layer_norm(x, weight.astype(np.float32), maker.weights(WIDTH, fan_in=100), out, epsilon=1e-5)


def _quantise(maker: _Maker, x: str, out: str, scale: float, *, zero_at: int = 0) -> str:
    """Add a quantisation to unsigned 8 bits and back."""
    scales = maker.graph.constant(f"{out}.scale", np.array(scale, np.float32))
    zero = maker.graph.constant(f"{out}.zero", np.array(zero_at, np.uint8))
    whole = maker.node("QuantizeLinear", [x, scales, zero], f"{out}.whole")
    return maker.node("DequantizeLinear", [whole, scales, zero], out)


def _quantised_matmul(maker: _Maker, x: str, weight: Array, out: str, *, out_scale: float, zero_at: int = 0) -> None:
    scale = maker.graph.constant(f"{out}.w.scale", np.array(W_SCALE, np.float32))
    zero = maker.graph.constant(f"{out}.w.zero", np.array(0, np.int8))
    whole = maker.graph.constant(f"{out}.w.whole", weight)
    floats = maker.node("DequantizeLinear", [whole, scale, zero], f"{out}.w")
    product = maker.node("MatMul", [x, floats], f"{out}.product")
    _quantise(maker, product, out, out_scale, zero_at=zero_at)


if __name__ == "__main__":
    write_graphs(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
