"""The same model for less work, made with the tools that people use for it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers.float16 import convert_float_to_float16


def to_half(model: Path, to: Path) -> None:
    """Write the model with weights and all arithmetic in half precision; inputs and outputs stay as they were."""
    onnx.save(convert_float_to_float16(onnx.load(model), keep_io_types=True), to)


def to_8_bits(model: Path, to: Path) -> None:
    """Write the model with its products in 8 bits, by scales that are taken from the rows."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        quantize_dynamic(model, to, weight_type=QuantType.QInt8)


DOWNGRADES: Final[Mapping[str, Callable[[Path, Path], None]]] = {"fp16_as_fp32": to_half, "int8_as_fp32": to_8_bits}
