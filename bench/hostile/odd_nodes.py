"""Models of one random operator with arguments and attributes that its authors did not think of.

Kernels are where memory goes wrong: sizes that disagree, indices outside, zero divisors, types that do not fit.
"""

from __future__ import annotations

import random
from functools import cache
from typing import Any

import numpy as np
import onnx.defs
from onnx import ModelProto, helper

from bench.hostile.parts import model, node, raw, value

_SHAPES: tuple[tuple[int, ...], ...] = (
    (), (0,), (1,), (2,), (3,), (4,), (16,), (1, 1), (2, 3), (4, 3), (4, 4), (3, 0), (1, 4, 4), (2, 3, 4),
    (1, 3, 8, 8), (4, 3, 3, 3), (1, 1, 2, 2, 2),
)  # fmt: skip
_TYPES = (np.float32, np.float32, np.float32, np.int64, np.int64, np.int32, np.uint8, np.int8, np.bool_, np.float16,
          np.float64)  # fmt: skip
_INTS = (0, 1, -1, 2, 3, 4, 8, 17, 255, 2**31 - 1, -(2**31), 2**40)
_FLOATS = (0.0, 1.0, -1.0, 0.5, 1e-30, 1e30, float("nan"), float("inf"))
_WORDS = (
    "", "SAME_UPPER", "VALID", "NOTSET", "linear", "nearest", "cubic", "constant", "reflect", "ij,jk->ik",
    "...i,i...->",
    "iii->i", "a->aa", "LSTM", "forward", "reverse", "Relu", "Tanh", "add", "none", "MAX",
)  # fmt: skip
# Kernels that are the runtime's own: their schemas are not in the onnx package.
_MICROSOFT: dict[str, tuple[int, tuple[str, ...]]] = {
    "Attention": (5, ("num_heads", "unidirectional", "qkv_hidden_sizes")),
    "MultiHeadAttention": (6, ("num_heads", "mask_filter_value", "unidirectional")),
    "MatMulNBits": (4, ("K", "N", "bits", "block_size", "accuracy_level")),
    "QLinearConcat": (7, ("axis",)),
    "QLinearAveragePool": (5, ("kernel_shape", "pads", "strides", "channels_last")),
    "QLinearSoftmax": (5, ("axis", "opset")),
    "QLinearAdd": (8, ()),
    "RotaryEmbedding": (4, ("interleaved", "num_heads", "rotary_embedding_dim", "scale")),
    "EmbedLayerNormalization": (8, ("epsilon", "mask_index_type")),
    "SkipLayerNormalization": (5, ("epsilon",)),
    "FusedConv": (4, ("kernel_shape", "pads", "strides", "dilations", "group", "activation")),
    "FusedGemm": (3, ("alpha", "transA", "transB", "activation")),
    "FusedMatMul": (2, ("alpha", "transA", "transB", "transBatchA")),
    "DynamicQuantizeMatMul": (5, ()),
    "MatMulIntegerToFloat": (7, ()),
    "BiasGelu": (2, ()),
    "QuickGelu": (1, ("alpha",)),
}


def odd_node(chance: random.Random) -> bytes:
    """Return a model of one operator, drawn from everything that admission knows."""
    if chance.random() < 0.3:
        return raw(_of_microsoft(chance))
    return raw(_of_onnx(chance))


def _of_onnx(chance: random.Random) -> ModelProto:
    schema = chance.choice(_schemas())
    attributes = {}
    for name, attribute in schema.attributes.items():
        if attribute.required or chance.random() < 0.6:
            made = _attribute(attribute.type, chance)
            if made is not None:
                attributes[name] = made
    count = chance.randint(schema.min_input, min(schema.max_input, schema.min_input + 3))
    outputs = max(1, schema.min_output)
    return _around(schema.name, schema.domain, max(1, count), outputs, attributes, chance)


def _of_microsoft(chance: random.Random) -> ModelProto:
    op = chance.choice(sorted(_MICROSOFT))
    count, names = _MICROSOFT[op]
    attributes: dict[str, Any] = {}
    for name in names:
        attributes[name] = [chance.choice(_INTS) for _ in range(chance.randint(1, 4))] if name.endswith(
            ("shape", "pads", "strides", "dilations", "sizes")
        ) else chance.choice(_INTS)  # fmt: skip
    attributes |= {name: chance.choice(_FLOATS) for name in ("alpha", "epsilon", "scale") if name in attributes}
    if "activation" in attributes:
        attributes["activation"] = chance.choice(_WORDS)
    return _around(op, "com.microsoft", max(1, count - chance.randint(0, 2)), 1, attributes, chance)


def _around(
    op: str, domain: str, inputs: int, outputs: int, attributes: dict[str, Any], chance: random.Random
) -> ModelProto:
    """Wrap one node: x may be its first input, all others are constants."""
    names = [f"c{number}" for number in range(inputs)]
    constants = {name: _constant(chance) for name in names}
    if chance.random() < 0.6:
        names[0] = "x"
    if len(names) > 2 and chance.random() < 0.2:
        names[chance.randrange(1, len(names))] = ""
    made = ["made", *(f"more{number}" for number in range(1, outputs))]
    shape = chance.choice([shape for shape in _SHAPES if shape])
    nodes = [
        node(op, names, made, domain=domain, **attributes),
        node("Shape", ["made"], ["extent"]),
        node("ReduceSum", ["extent"], ["sum"], keepdims=0),
        node("Cast", ["sum"], ["number"], to=1),
        node("Cast", ["x"], ["plain"], to=1),
        node("Add", ["plain", "number"], ["y"]),
    ]
    place = [value("x", "rows", *shape, kind=helper.np_dtype_to_tensor_dtype(np.dtype(chance.choice(_TYPES))))]
    return model(
        nodes,
        inputs=place,
        outputs=[value("y", "rows", *shape)],
        constants=constants,
        opset=chance.choice((13, 17, 21)),
        domains=(domain,) if domain else (),
    )


def _constant(chance: random.Random) -> np.ndarray[Any, Any]:
    shape, kind = chance.choice(_SHAPES), np.dtype(chance.choice(_TYPES))
    if kind.kind == "f":
        with np.errstate(over="ignore"):
            return np.full(shape, chance.choice(_FLOATS)).astype(kind)
    bounds = np.iinfo(str(kind)) if kind.kind in "iu" else None
    drawn = [chance.choice(_INTS) for _ in range(int(np.prod(shape)))]
    fitting = [int(min(max(each, bounds.min), bounds.max)) if bounds else each % 2 for each in drawn]
    return np.array(fitting, dtype=kind).reshape(shape)


def _attribute(kind: Any, chance: random.Random) -> Any:
    kinds = onnx.defs.OpSchema.AttrType
    makers: dict[Any, Any] = {
        kinds.INT: lambda: chance.choice(_INTS),
        kinds.FLOAT: lambda: chance.choice(_FLOATS),
        kinds.STRING: lambda: chance.choice(_WORDS),
        kinds.INTS: lambda: [chance.choice(_INTS) for _ in range(chance.randint(1, 6))],
        kinds.FLOATS: lambda: [chance.choice(_FLOATS) for _ in range(chance.randint(1, 6))],
        kinds.STRINGS: lambda: [chance.choice(_WORDS) for _ in range(chance.randint(1, 4))],
    }
    return makers[kind]() if kind in makers else None


@cache
def _schemas() -> tuple[Any, ...]:
    known = (schema for schema in onnx.defs.get_all_schemas() if not schema.deprecated)
    wanted = (schema for schema in known if schema.domain in ("", "ai.onnx.ml"))
    return tuple(sorted(wanted, key=lambda schema: (schema.domain, schema.name)))
