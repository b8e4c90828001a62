"""The three graphs, the contracts under which they run, and how their outputs are judged.

The files beside this module are made by a seeded script of the project (bench/models/selftest.py). The expected outputs
come from ONNX's reference evaluator. Floats may differ from it by a relative L2 norm of 1e-4 a row, which is
hundreds of times what any sound processor shows and a sixth of what half precision does; quantised values by one step.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from fleetclient.selftest.tensors import relative_l2
from fleetclient.wire import Contract, Limits, ModelRef, SessionOptions, TensorSpec

ROWS: Final = 16
BATCH_ROWS: Final = 8
RELATIVE_L2_MAX: Final = 1e-4
STEPS_MAX: Final = 1.01  # one step, and room for the last bit of a float
SECONDS_MAX: Final = 60
MEMORY_BYTES: Final = 256 * 1024**2
OUTPUT_BYTES_MAX: Final = 16 * 1024**2
GRAPH_OPTIMIZATION: Final = "all"

Rows = list[list[float]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the comparison of one graph's outputs says; `int8` is set by the quantised graph only."""

    passed: bool
    error: float
    detail: str
    int8: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Graph:
    """One graph of the self-test. `steps` are the quantisation steps of quantised outputs, by name."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    steps: Mapping[str, float]

    def file(self, kind: str) -> bytes:
        """Return one of the graph's files: `onnx`, `inputs.safetensors` or `outputs.safetensors`."""
        return files("fleetclient.selftest").joinpath("graphs", f"{self.name}.{kind}").read_bytes()

    def contract(self, model: bytes) -> Contract:
        """Return the contract, as a lease would bring it."""
        return Contract(
            model=ModelRef(sha256=hashlib.sha256(model).hexdigest(), bytes=len(model)),
            inputs=self.inputs,
            outputs=self.outputs,
            batch_rows=BATCH_ROWS,
            limits=Limits(
                memory_bytes=MEMORY_BYTES,
                seconds=SECONDS_MAX,
                output_bytes_max=OUTPUT_BYTES_MAX,
                inline_bytes_max=0,
            ),
            session=SessionOptions(graph_optimization=GRAPH_OPTIMIZATION, intra_op_threads=1),
        )

    def judge(self, found: Mapping[str, Rows], wanted: Mapping[str, Rows]) -> Verdict:
        """Compare outputs with the expected ones."""
        if self.steps:
            return _judge_quantised(self, found, wanted)
        error = max(
            relative_l2(row, expected)
            for spec in self.outputs
            for row, expected in zip(found[spec.name], wanted[spec.name], strict=True)
        )
        return Verdict(error <= RELATIVE_L2_MAX, error, f"relative L2 {error:.1e}, allowed {RELATIVE_L2_MAX:.0e}")


def _spec(name: str, *shape: int) -> TensorSpec:
    return TensorSpec(name=name, dtype="F32", shape=shape)


GRAPHS: Final = (
    Graph(name="convolution", inputs=(_spec("image", 3, 16, 16),), outputs=(_spec("logits", 10),), steps={}),
    Graph(name="transformer", inputs=(_spec("tokens", 12, 48),), outputs=(_spec("embedding", 48),), steps={}),
    Graph(
        name="quantised",
        inputs=(_spec("pixels", 64),),
        outputs=(_spec("scores", 16), _spec("saturation", 4)),
        steps={"scores": 1.0 / 16.0, "saturation": 0.5},
    ),
)


def write_files(graph: Graph, folder: Path) -> tuple[Path, Contract]:
    """Put a graph's model into a folder, where a runner may read it; return its path and contract."""
    model = graph.file("onnx")
    path = folder / f"{graph.name}.onnx"
    path.write_bytes(model)
    return path, graph.contract(model)


def _judge_quantised(graph: Graph, found: Mapping[str, Rows], wanted: Mapping[str, Rows]) -> Verdict:
    error = _steps(found["scores"], wanted["scores"], graph.steps["scores"])
    if not error <= STEPS_MAX:
        return Verdict(passed=False, error=error, detail=f"scores are {error:.1f} quantisation steps off, allowed is 1")
    exact, cut = (
        _steps(found["saturation"], wanted[name], graph.steps["saturation"])
        for name in ("saturation", "saturation_16_bit")
    )
    if not min(exact, cut) <= STEPS_MAX:
        detail = f"8-bit products add up neither exactly ({exact:.1f} steps off) nor cut off at 16 bits ({cut:.1f})"
        return Verdict(passed=False, error=min(exact, cut), detail=detail)
    kind = "exact" if exact <= cut else "saturating"
    return Verdict(True, error, f"{error:.1f} quantisation steps off, 8-bit products {kind}", int8=kind)  # noqa: FBT003


def _steps(found: Rows, wanted: Rows, step: float) -> float:
    """Return the greatest difference of any two values in quantisation steps; not a number stays so and fails."""
    differences = [
        abs(value - expected) / step
        for row, expected_row in zip(found, wanted, strict=True)
        for value, expected in zip(row, expected_row, strict=True)
    ]
    return math.nan if any(map(math.isnan, differences)) else max(differences)
