"""Models that are admitted: what the report says about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

from tests.research.onnx_files import WEIGHTS, linear_model, model_of
from workunits.sandbox.admit import admit
from workunits.sandbox.report import AdmissionRequest, ModelFacts

GIB = 1024**3


def examine(folder: Path, model: ModelProto, **request: object) -> ModelFacts:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return admit(path, AdmissionRequest(**request))  # type: ignore[arg-type]


def vector(name: str, *dims: Any, kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, list(dims))


def test_the_digits_classifier_of_scikit_learn_is_admitted(tmp_path) -> None:
    from skl2onnx import to_onnx
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression

    pixels, labels = load_digits(return_X_y=True)
    classifier = LogisticRegression(max_iter=500).fit(pixels, labels)
    model = to_onnx(classifier, pixels[:1].astype(np.float32), options={"zipmap": False})
    facts = examine(tmp_path, model)
    assert facts.inputs == [{"name": "X", "dtype": "F32", "shape": [64]}]
    assert facts.outputs == [
        {
            "name": "label", "dtype": "I64", "shape": [], "comparator": "tokens", "tolerance": 1e-3,
            "options": {"companion": "probabilities", "sequential": False},
        },
        {"name": "probabilities", "dtype": "F32", "shape": [10], "comparator": "probabilities", "tolerance": 1e-3},
    ]  # fmt: skip
    assert "ai.onnx.ml.LinearClassifier" in facts.operators
    assert 2 * 64 * 10 <= facts.flops_per_row < 2 * 64 * 10 + 200
    assert 0 < facts.memory_bytes < GIB
    assert 0 < facts.seconds_per_block < 1


def test_free_dimensions_take_the_values_given_by_name_or_by_axis(tmp_path) -> None:
    nodes = [helper.make_node("ReduceMean", ["x"], ["y"], axes=[1], keepdims=0)]
    named = model_of(nodes, inputs=[vector("x", "rows", "sequence", 3)])
    facts = examine(tmp_path, named, fixed_dims={"sequence": 16}, batch_rows=4)
    assert (facts.inputs[0]["shape"], facts.outputs[0]["shape"], facts.batch_rows) == ([16, 3], [3], 4)
    nameless = model_of(nodes, inputs=[vector("x", None, None, 3)])
    assert examine(tmp_path, nameless, fixed_dims={"x:1": 5}).inputs[0]["shape"] == [5, 3]


def test_a_first_dimension_fixed_to_one_pins_blocks_of_one_row(tmp_path) -> None:
    model = model_of(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        inputs=[vector("x", 1, 4)],
        outputs=[vector("y", 1, 3)],
        constants={"w": WEIGHTS},
    )
    facts = examine(tmp_path, model, batch_rows=16)
    assert (facts.batch_rows, facts.flops_per_row) == (1, 24)


def test_a_constant_subgraph_earns_nothing(tmp_path) -> None:
    padded = model_of(
        [
            helper.make_node("MatMul", ["big", "big"], ["bigger"]),
            helper.make_node("ReduceMax", ["bigger"], ["scalar"], keepdims=0),
            helper.make_node("Mul", ["scalar", "zero"], ["nothing"]),
            helper.make_node("MatMul", ["x", "w"], ["product"]),
            helper.make_node("Add", ["product", "nothing"], ["y"]),
        ],
        constants={"w": WEIGHTS, "big": np.ones((256, 256), np.float32), "zero": np.float32(0)},
    )
    plain = examine(tmp_path, linear_model()).flops_per_row
    assert plain == 24
    assert plain <= examine(tmp_path, padded).flops_per_row <= plain + 3  # the one addition to each of three floats


def test_padding_made_from_the_inputs_shape_earns_nothing(tmp_path) -> None:
    padded = model_of(
        [
            helper.make_node("Shape", ["x"], ["extent"]),
            helper.make_node("Gather", ["extent", "column"], ["columns"]),
            helper.make_node("Mul", ["columns", "factor"], ["side"]),
            helper.make_node("Concat", ["side", "side"], ["square"], axis=0),
            helper.make_node("ConstantOfShape", ["square"], ["ones"]),
            helper.make_node("MatMul", ["ones", "ones"], ["wasted"]),
            helper.make_node("ReduceMax", ["wasted"], ["scalar"], keepdims=0),
            helper.make_node("MatMul", ["x", "w"], ["product"]),
            helper.make_node("Add", ["product", "scalar"], ["y"]),
        ],
        constants={"w": WEIGHTS, "column": np.array([1]), "factor": np.array([64])},
    )
    assert examine(tmp_path, padded).flops_per_row <= 24 + 3


def test_a_branch_that_leads_nowhere_earns_nothing(tmp_path) -> None:
    dead = model_of(
        [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("MatMul", ["x", "wide"], ["unused"])],
        constants={"w": WEIGHTS, "wide": np.ones((4, 1000), np.float32)},
    )
    assert examine(tmp_path, dead).flops_per_row == 24


@pytest.mark.parametrize(
    ("nodes", "constants", "shape", "flops"),
    [
        ([helper.make_node("Conv", ["x", "k"], ["y"])], {"k": (2, 3, 3, 3)}, (3, 8, 8), 2 * 2 * 6 * 6 * 27),
        ([helper.make_node("Gemm", ["x", "k"], ["y"], transB=1)], {"k": (5, 7)}, (7,), 2 * 5 * 7),
        ([helper.make_node("Einsum", ["x", "k"], ["y"], equation="bij,jk->bik")], {"k": (6, 2)}, (4, 6), 2 * 4 * 6 * 2),
        ([helper.make_node("Relu", ["x"], ["y"])], {}, (9,), 9),
        ([helper.make_node("Reshape", ["x", "to"], ["y"])], {"to": None}, (6,), 1),
    ],
)
def test_flops_are_counted_from_real_shapes(tmp_path, nodes, constants, shape, flops) -> None:
    values = {
        name: np.array([-1, 2, 3]) if dims is None else np.ones(dims, np.float32) for name, dims in constants.items()
    }
    outputs = [vector("y", "rows", *(["a", "b", "c"][: 3 if len(shape) == 3 else len(shape)]))]
    if "to" in values:
        outputs = [vector("y", "rows", 2, 3)]
    model = model_of(nodes, inputs=[vector("x", "rows", *shape)], outputs=outputs, constants=values)
    assert examine(tmp_path, model).flops_per_row == flops


@pytest.mark.parametrize(
    ("nodes", "width", "comparator"),
    [
        ([helper.make_node("Softmax", ["x"], ["y"])], 4, "probabilities"),
        ([helper.make_node("Relu", ["x"], ["y"])], 4, "logits"),
        ([helper.make_node("Relu", ["x"], ["y"])], 64, "embedding"),
        ([helper.make_node("LpNormalization", ["x"], ["y"])], 4, "embedding"),
        (
            [
                helper.make_node("ReduceL2", ["x"], ["norm"], axes=[1]),
                helper.make_node("Clip", ["norm", "floor"], ["safe"]),
                helper.make_node("Div", ["x", "safe"], ["y"]),
            ],
            4,
            "embedding",
        ),
    ],
)
def test_the_comparator_follows_from_the_graph(tmp_path, nodes, width, comparator) -> None:
    model = model_of(
        nodes,
        inputs=[vector("x", "rows", width)],
        outputs=[vector("y", "rows", width)],
        constants={"floor": np.float32(1e-9)},
    )
    assert examine(tmp_path, model).outputs[0]["comparator"] == comparator


def test_the_child_is_locked_in() -> None:
    """Ask the jail itself, in a process of its own: no file can be opened, no network is there, memory is bounded."""
    import subprocess
    import sys

    program = """
import os, socket, sys
from workunits.sandbox.jail import lock_down
from workunits.sandbox.report import AdmissionLimits
ready = socket.socket()
held = lock_down(AdmissionLimits(memory_bytes=1 << 30), parent_pid=os.getppid())
def denied(action):
    try: action()
    except (OSError, MemoryError): return True
    return False
assert denied(lambda: open("/etc/passwd"))
assert "landlock" not in held or denied(lambda: open("/tmp/escaped", "w"))
assert denied(lambda: socket.socket())
assert denied(lambda: ready.connect(("127.0.0.1", int(sys.argv[1]))))
assert denied(lambda: bytearray(2 << 30))
assert denied(os.fork)
assert {"rlimits", "seccomp"} <= set(held), held
"""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        ended = subprocess.run([sys.executable, "-c", program, port], check=False, capture_output=True, timeout=60)
    assert ended.returncode == 0, ended.stderr.decode()
