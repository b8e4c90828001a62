"""Small valid models of several kinds, all admitted as they are: what random mutations start from."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto

from bench.hostile.parts import graph, linear, model, node, raw, value


def valid() -> dict[str, bytes]:
    """Return them by name."""
    made = {
        "linear": linear(),
        "convolution": _convolution(),
        "attention": _attention(),
        "int8": _int8(),
        "branch": _branch(),
        "recurrent": _recurrent(),
        "tree": _tree(),
        "microsoft": _microsoft(),
    }
    return {name: raw(each) for name, each in made.items()}


def _numbers(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


def _convolution() -> ModelProto:
    nodes = [
        node("Conv", ["x", "k", "b"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2]),
        node("BatchNormalization", ["c", "s", "b", "b", "s"], ["n"]),
        node("Relu", ["n"], ["r"]),
        node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "w"], ["y"], transB=1),
    ]
    constants = {"k": _numbers(4, 3, 3, 3), "b": np.zeros(4, np.float32), "s": np.ones(4, np.float32),
                 "w": _numbers(5, 16)}  # fmt: skip
    return model(nodes, inputs=[value("x", "rows", 3, 8, 8)], outputs=[value("y", "rows", 5)], constants=constants)


def _attention() -> ModelProto:
    nodes = [
        node("MatMul", ["x", "wq"], ["q"]),
        node("MatMul", ["x", "wk"], ["k"]),
        node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
        node("MatMul", ["q", "kt"], ["a"]),
        node("Softmax", ["a"], ["s"], axis=-1),
        node("MatMul", ["s", "x"], ["o"]),
        node("Add", ["o", "x"], ["z"]),
        node("LayerNormalization", ["z", "g"], ["y"], axis=-1),
    ]
    constants = {"wq": _numbers(8, 8), "wk": _numbers(8, 8), "g": np.ones(8, np.float32)}
    place = [value("x", "rows", 6, 8)]
    return model(nodes, inputs=place, outputs=[value("y", "rows", 6, 8)], constants=constants)


def _int8() -> ModelProto:
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        node("MatMulInteger", ["q", "w", "z", "zw"], ["i"]),
        node("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
        node("Mul", ["f", "s"], ["y"]),
    ]
    weights = np.random.default_rng(3).integers(-127, 127, (4, 3)).astype(np.int8)
    constants = {"s": np.float32(0.1), "z": np.uint8(128), "w": weights, "zw": np.int8(0)}
    return model(nodes, constants=constants)


def _branch() -> ModelProto:
    # The choice is the same for any rows: where one row of a block changed another's result, no two cars would agree.
    double = graph([node("Add", ["x", "x"], ["one"])], [], [value("one", "rows", 4)], "double")
    same = graph([node("Identity", ["x"], ["other"])], [], [value("other", "rows", 4)], "same")
    nodes = [
        node("ReduceSumSquare", ["x"], ["sum"], keepdims=0),
        node("Greater", ["sum", "zero"], ["positive"]),
        node("If", ["positive"], ["chosen"], then_branch=double, else_branch=same),
        node("MatMul", ["chosen", "w"], ["y"]),
    ]
    return model(nodes, constants={"zero": np.float32(0), "w": _numbers(4, 3)})


def _recurrent() -> ModelProto:
    nodes = [
        node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        node("LSTM", ["t", "w", "r"], ["", "h"], hidden_size=5),
        node("Squeeze", ["h", "first"], ["y"]),
    ]
    constants = {"w": _numbers(1, 20, 4), "r": _numbers(1, 20, 5), "first": np.array([0])}
    return model(nodes, inputs=[value("x", "rows", 6, 4)], outputs=[value("y", "rows", 5)], constants=constants)


def _tree() -> ModelProto:
    attributes: dict[str, Any] = {
        "nodes_treeids": [0, 0, 0], "nodes_nodeids": [0, 1, 2], "nodes_featureids": [1, 0, 0],
        "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"], "nodes_values": [0.5, 0.0, 0.0],
        "nodes_truenodeids": [1, 0, 0], "nodes_falsenodeids": [2, 0, 0], "target_treeids": [0, 0],
        "target_nodeids": [1, 2], "target_ids": [0, 1], "target_weights": [1.0, 2.0], "n_targets": 3,
    }  # fmt: skip
    return model([node("TreeEnsembleRegressor", ["x"], domain="ai.onnx.ml", **attributes)], domains=("ai.onnx.ml",))


def _microsoft() -> ModelProto:
    nodes = [
        node("SkipLayerNormalization", ["x", "x", "g", "b"], ["n"], domain="com.microsoft"),
        node("FusedMatMul", ["n", "w"], ["m"], domain="com.microsoft", alpha=0.5),
        node("Gelu", ["m"], ["y"], domain="com.microsoft"),
    ]
    constants = {"g": np.ones(8, np.float32), "b": np.zeros(8, np.float32), "w": _numbers(8, 3)}
    return model(
        nodes,
        inputs=[value("x", "rows", 6, 8)],
        outputs=[value("y", "rows", 6, 3)],
        constants=constants,
        domains=("com.microsoft",),
    )
