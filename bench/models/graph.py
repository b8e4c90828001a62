"""A thin writer of ONNX graphs: each call adds one node or one constant and returns the name of what it makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

OPSET = 17
IR_VERSION = 8

Array = npt.NDArray[Any]


class GraphWriter:
    """Collects nodes and constants in the order in which they run."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}

    def constant(self, name: str, value: Array) -> str:
        """Add a constant under its name."""
        self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def node(self, operator: str, inputs: Sequence[str], output: str, *more: str, **attributes: Any) -> str:
        """Add a node that makes `output`, which is also its name, and perhaps `more`."""
        self._nodes.append(helper.make_node(operator, list(inputs), [output, *more], name=output, **attributes))
        return output

    def linear(self, x: str, weight: Array, bias: Array, output: str) -> str:
        """Add x·weightᵀ + bias, `weight` as `[out, in]`."""
        product = self.node("MatMul", [x, self.constant(f"{output}.weight", weight.T)], f"{output}.product")
        return self.node("Add", [product, self.constant(f"{output}.bias", bias)], output)

    def layer_norm(self, x: str, weight: Array, bias: Array, output: str, *, epsilon: float) -> str:
        """Add a normalisation of the last axis to mean 0 and variance 1, then scale and shift."""
        scale, shift = self.constant(f"{output}.weight", weight), self.constant(f"{output}.bias", bias)
        return self.node("LayerNormalization", [x, scale, shift], output, axis=-1, epsilon=epsilon)

    def model(self, name: str, *, inputs: Sequence[Any], outputs: Sequence[Any]) -> onnx.ModelProto:
        """Return the whole as a checked model."""
        graph = helper.make_graph(self._nodes, name, list(inputs), list(outputs), list(self._constants.values()))
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="fleetcompute")
        onnx.checker.check_model(model, full_check=True)
        return model
