"""Hostile models made by hand: each plays one known attack, and none may be admitted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper

from bench.hostile.parts import WEIGHTS, field, graph, linear, model, node, raw, value, varint

HUGE = 2**17
ENDLESS = 2**60
YES = np.array([True])[0]
MEMORY_MARKER = "*/_ORT_MEM_ADDR_/*"
# Places of external data; the first ones exist beside the model that is loaded.
LOCATIONS = (
    "weights.bin", "link.bin", "hard.bin", "./weights.bin", "folder/../weights.bin", "../secret.bin", "/etc/passwd",
    "/proc/self/environ", "/proc/self/mem", "/dev/zero", "file:///etc/passwd", "", ".", "\\\\host\\share\\x",
    "weights.bin\0.txt", MEMORY_MARKER,
)  # fmt: skip


def handmade(secret_address: int, secret_path: str) -> dict[str, bytes]:
    """Return all of them by name. The address and the path are of a secret that they try to read."""
    made: dict[str, bytes] = {}
    for maker in (
        _external(secret_address, secret_path),
        _large(),
        _endless(),
        _nested(),
        _foreign(),
        _graphs(),
        _bytes(),
    ):
        for name, content in maker:
            made[name] = content if isinstance(content, bytes) else raw(content)
    return made


def _external(address: int, path: str) -> Iterator[tuple[str, ModelProto]]:
    for number, location in enumerate((*LOCATIONS, path)):
        yield f"external data {number} {location[:24]!r}", _outside(location)
    yield "external data of the agent's memory", _outside(MEMORY_MARKER, offset=str(address), length="48")
    yield "external data far away", _outside("weights.bin", offset=str(2**63 - 1), length=str(2**63 - 1))
    yield "external data of negative length", _outside("weights.bin", offset="-1", length="-1")
    yield "external data with a base path", _outside("weights.bin", basepath="/etc", checksum="x")
    hidden = helper.make_tensor("hidden", TensorProto.FLOAT, [4, 3], [0.0] * 12)
    hidden.ClearField("float_data")
    hidden.data_location = TensorProto.EXTERNAL
    hidden.external_data.add(key="location", value="weights.bin")
    yield (
        "external data in an attribute",
        model([node("Constant", [], ["w"], value=hidden), node("MatMul", ["x", "w"])]),
    )
    inner = graph([node("Constant", [], ["inner"], value=hidden)], [], [value("inner", 4, 3)])
    yield (
        "external data in a branch",
        model(
            [node("If", ["yes"], ["w"], then_branch=inner, else_branch=inner), node("MatMul", ["x", "w"])],
            constants={"yes": YES},
        ),
    )
    marked = linear()
    marked.graph.initializer[0].data_location = TensorProto.EXTERNAL
    yield "external data without a place", marked


def _outside(location: str, **more: str) -> ModelProto:
    made = linear()
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, text in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=text)
    return made


def _large() -> Iterator[tuple[str, ModelProto]]:
    shape = {"shape": np.array([HUGE, HUGE])}
    for op in ("Expand", "Tile", "Reshape"):
        yield f"a huge {op}", model([node(op, ["x", "shape"])], constants=shape)
    yield "64 GiB out of nothing", model([node("ConstantOfShape", ["shape"])], constants=shape)
    yield "64 GiB that are folded away", model(
        [node("ConstantOfShape", ["shape"], ["much"]), node("ReduceMax", ["much"], ["top"], keepdims=0),
         node("Add", ["x", "top"])],
        constants=shape, outputs=[value("y", "rows", 4)],
    )  # fmt: skip
    yield (
        "more elements than there are numbers",
        model([node("ConstantOfShape", ["shape"])], constants={"shape": np.array([2**62, 2**62])}),
    )
    yield "a negative shape", model([node("ConstantOfShape", ["shape"])], constants={"shape": np.array([-5, 3])})
    ends = {"a": np.float32(0), "b": np.float32(1e12), "c": np.float32(1)}
    yield "an endless range", model([node("Range", ["a", "b", "c"])], constants=ends)
    yield "endless padding", model([node("Pad", ["x", "pads"])], constants={"pads": np.array([0, 0, 2**40, 2**40])})
    yield (
        "a huge one-hot",
        model(
            [node("Cast", ["x"], ["i"], to=TensorProto.INT64), node("OneHot", ["i", "depth", "two"])],
            constants={"depth": np.array(2**40), "two": np.array([0, 1], np.float32)},
        ),
    )
    yield (
        "a huge resize",
        model([node("Resize", ["x", "", "scales"])], constants={"scales": np.array([1, 1e9], np.float32)}),
    )
    yield "huge noise", model([node("RandomNormal", [], shape=[HUGE, HUGE])])
    for name, dims in {"many": [2**40], "negative": [-4, -3], "overflowing": [2**62, 8], "deep": [1] * 3000}.items():
        claiming = linear()
        del claiming.graph.initializer[0].dims[:]
        claiming.graph.initializer[0].dims.extend(dims)
        yield f"a constant that claims {name} elements", claiming
    yield "rows of a terabyte", model([node("Identity", ["x"])], inputs=[value("x", "rows", 2**40)])
    yield "rows of a negative size", model([node("Identity", ["x"])], inputs=[value("x", "rows", -7)])
    quadratic = [node("MatMul", [f"t{step}", "w"], [f"t{step + 1}"]) for step in range(200)]
    yield "days of folding", model(
        [node("ConstantOfShape", ["shape"], ["t0"]), node("Identity", ["t0"], ["w"]), *quadratic,
         node("ReduceMax", ["t200"], ["top"], keepdims=0), node("Add", ["x", "top"])],
        constants={"shape": np.array([2048, 2048])}, outputs=[value("y", "rows", 4)],
    )  # fmt: skip


def _endless() -> Iterator[tuple[str, ModelProto]]:
    body = graph(
        [node("Identity", ["go_in"], ["go_out"]), node("Identity", ["in"], ["out"])],
        [value("trip", kind=TensorProto.INT64), value("go_in", kind=TensorProto.BOOL), value("in", "rows", 4)],
        [value("go_out", kind=TensorProto.BOOL), value("out", "rows", 4)],
    )
    out = [value("y", "rows", 4)]
    yes, trips = {"yes": YES}, {"trips": np.array(ENDLESS)}
    yield "an endless loop", model([node("Loop", ["trips", "yes", "x"], body=body)], constants=yes | trips, outputs=out)
    yield "a loop without a count", model([node("Loop", ["", "yes", "x"], body=body)], constants=yes, outputs=out)
    yield "a loop without anything", model([node("Loop", ["", "", "x"], body=body)], outputs=out)
    constant = graph(
        [node("Identity", ["go_in"], ["go_out"]), node("Identity", ["in"], ["out"])],
        [value("trip", kind=TensorProto.INT64), value("go_in", kind=TensorProto.BOOL), value("in")],
        [value("go_out", kind=TensorProto.BOOL), value("out")],
    )
    yield "an endless loop of constants", model(
        [node("Loop", ["trips", "yes", "one"], ["n"], body=constant), node("Add", ["x", "n"])],
        constants=yes | trips | {"one": np.float32(1)}, outputs=out,
    )  # fmt: skip
    growing = graph(
        [node("Identity", ["go_in"], ["go_out"]), node("Concat", ["in", "in"], ["out"], axis=1)],
        [value("trip", kind=TensorProto.INT64), value("go_in", kind=TensorProto.BOOL), value("in", None, None)],
        [value("go_out", kind=TensorProto.BOOL), value("out", None, None)],
    )
    yield (
        "a loop that doubles",
        model(
            [node("Loop", ["trips", "yes", "x"], body=growing)], constants=yes | trips, outputs=[value("y", None, None)]
        ),
    )
    step = graph([node("Identity", ["row"], ["same"])], [value("row", 4)], [value("same", 4)])
    yield "a scan", model([node("Scan", ["x"], body=step, num_scan_inputs=1)], outputs=out)
    trees: dict[str, Any] = {
        "nodes_treeids": [0, 0], "nodes_nodeids": [0, 1], "nodes_featureids": [0, 0],
        "nodes_modes": ["BRANCH_LEQ", "BRANCH_LEQ"], "nodes_values": [0.0, 0.0], "nodes_truenodeids": [1, 0],
        "nodes_falsenodeids": [1, 0], "target_treeids": [0], "target_nodeids": [1], "target_ids": [0],
        "target_weights": [1.0], "n_targets": 3,
    }  # fmt: skip
    yield (
        "a tree that bites its tail",
        model([node("TreeEnsembleRegressor", ["x"], domain="ai.onnx.ml", **trees)], domains=("ai.onnx.ml",)),
    )


def _nested() -> Iterator[tuple[str, ModelProto]]:
    for levels in (5, 20):
        inner = graph([node("Identity", ["x"], ["inner"])], [], [value("inner", "rows", 4)], "leaf")
        for level in range(levels):
            leaf = graph([node("Identity", ["x"], ["inner"])], [], [value("inner", "rows", 4)], "leaf")
            choice = node("If", ["yes"], ["inner"], then_branch=inner, else_branch=leaf)
            inner = graph([choice], [], [value("inner", "rows", 4)], f"level {level}")
        yield (
            f"branches {levels} deep",
            model(
                [node("If", ["yes"], then_branch=inner, else_branch=inner)],
                constants={"yes": YES},
                outputs=[value("y", "rows", 4)],
            ),
        )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    for name, calls in {"itself": ("A", "A"), "another": ("A", "B")}.items():
        made = model([node("A", ["x"], domain="own")], domains=("own",))
        for function, called in (calls, calls[::-1]) if calls[0] != calls[1] else (calls,):
            call = node(called, ["a"], ["b"], domain="own")
            made.functions.append(helper.make_function("own", function, ["a"], ["b"], [call], imports))
        yield f"a function that calls {name}", made
    doubling = model([node("F20", ["x"], domain="own")], domains=("own",))
    for level in range(21):
        inner_op = {"domain": "own"} if level else {}
        op = f"F{level - 1}" if level else "Relu"
        nodes = [node(op, ["a"], ["t"], **inner_op), node(op, ["t"], ["b"], **inner_op)]
        doubling.functions.append(helper.make_function("own", f"F{level}", ["a"], ["b"], nodes, imports))
    yield "a function that unfolds to two million nodes", doubling


def _foreign() -> Iterator[tuple[str, ModelProto]]:
    for domain in ("com.microsoft", "", "com.nvidia"):
        context = node("EPContext", ["x"], domain=domain, embed_mode=1, ep_cache_context=b"\x7fELF", main_context=1)
        yield f"code for an accelerator ({domain or 'default'})", model([context], domains=(domain,) if domain else ())
        path = node("EPContext", ["x"], domain=domain, embed_mode=0, ep_cache_context=b"/etc/passwd")
        yield f"code in a file ({domain or 'default'})", model([path], domains=(domain,) if domain else ())
    for domain in ("com.evil", "ai.onnx.preview.training", "ai.onnx.contrib", "pkg.torch", "com.microsoft.nchwc"):
        yield f"the domain {domain}", model([node("Mine", ["x"], domain=domain)], domains=(domain,))
    yield "an operator from nowhere", model([node("Conjure", ["x"])])
    yield "Python inside", model([node("PyOp", ["x"], domain="pyopadd", module="os")], domains=("pyopadd",))
    for op in ("Loop", "SequenceMap"):
        yield f"a bare {op}", model([node(op, ["x"])])


def _graphs() -> Iterator[tuple[str, ModelProto]]:
    yield "a cycle", model([node("Relu", ["b"], ["a"]), node("Relu", ["a"], ["b"]), node("Add", ["x", "b"])])
    yield "a node that feeds itself", model([node("Add", ["x", "y"])])
    yield "two makers of one value", model([node("Relu", ["x"]), node("Abs", ["x"])])
    yield "two inputs of one name", model([node("Relu", ["x"])], inputs=[value("x", "rows", 4)] * 2)
    twice = linear()
    twice.graph.initializer.append(twice.graph.initializer[0])
    yield "two constants of one name", twice
    yield "an output that nobody makes", model([node("Relu", ["x"], ["z"])])
    yield "no output", model([node("Relu", ["x"])], outputs=[])
    yield "no node", model([])
    yield "sixty thousand nodes", model([node("Relu", ["x"], [f"t{step}"]) for step in range(60_000)])
    yield (
        "a thousand inputs",
        model([node("Relu", ["x0"])], inputs=[value(f"x{number}", "rows", 4) for number in range(1000)]),
    )
    sparse = linear()
    del sparse.graph.initializer[:]
    values, indices = (helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0]),
                       helper.make_tensor("i", TensorProto.INT64, [2], [3, 2**50]))  # fmt: skip
    sparse.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4, 3]))
    yield "a sparse constant that points far away", sparse
    yield (
        "a sparse attribute",
        model(
            [node("Constant", [], ["w"], sparse_value=sparse.graph.sparse_initializer[0]), node("MatMul", ["x", "w"])]
        ),
    )
    yield "chance without a seed", model([node("RandomUniformLike", ["x"])])
    for version in (0, 1, 12, 99, 2**31):
        yield f"opset {version}", model([node("Relu", ["x"])], opset=version)
    for version in (0, 2, 99, 2**40):
        made = linear()
        made.ir_version = version
        yield f"IR version {version}", made
    yield "text as input", model([node("Identity", ["x"])], inputs=[value("x", "rows", 4, kind=TensorProto.STRING)])
    yield "an output of no rows", model([node("ReduceMax", ["x"], keepdims=0)], outputs=[value("y")])


def _bytes() -> Iterator[tuple[str, bytes]]:
    plain = raw(linear())
    yield "nothing", b""
    yield "branches five hundred deep", _deep(500)
    yield "half a model", plain[: len(plain) // 2]
    yield "a shell script", b"#!/bin/sh\nexit 0\n"
    yield "an ELF file", b"\x7fELF\x02\x01\x01" + b"\0" * 100
    yield "a pickle", b"\x80\x04cos\nsystem\n(S'true'\ntR."
    yield "a ZIP file", b"PK\x03\x04" + b"\0" * 60
    yield "groups without end", b"\x0b" * 200_000
    nested = b""
    for _ in range(3000):
        nested = field(7, nested)
    yield "messages three thousand deep", nested
    yield "a length of four gigabytes", varint(7 << 3 | 2) + varint(2**32 - 1) + plain
    yield "a length without end", varint(7 << 3 | 2) + b"\xff" * 11
    named = linear()
    named.graph.node[0].name = "n" * 8_000_000
    yield "a name of eight megabytes", b"\x08" + b"\x00" + raw(named)
    strings = model([node("Identity", ["x"])], inputs=[value("x", "rows", 4, kind=TensorProto.STRING)])
    tensor = strings.graph.initializer.add(name="s", data_type=TensorProto.STRING, dims=[200_000])
    tensor.string_data.extend([b"s" * 20] * 200_000)
    yield "two hundred thousand strings", raw(strings)
    bad = raw(linear()).replace(b"MatMu", b"\xff\xfe\x00Mu")
    yield "a name that is no text", bad
    assert WEIGHTS.size == 12


def _deep(levels: int) -> bytes:
    """Return branches in branches, written by hand: the protobuf library refuses to build so many."""
    leaf = field(1, field(1, b"x") + field(2, b"y") + field(4, b"Relu")) + field(2, b"leaf")
    inner = leaf
    for _ in range(levels):
        branches = [
            field(5, field(1, name) + field(6, part) + varint(20 << 3) + varint(5))
            for name, part in ((b"then_branch", inner), (b"else_branch", leaf))
        ]
        choice = field(1, b"x") + field(2, b"y") + field(4, b"If") + b"".join(branches)
        inner = field(1, choice) + field(2, b"level")
    return varint(1 << 3) + varint(9) + field(7, inner) + field(8, varint(2 << 3) + varint(17))
