"""A model that loads at once and computes for long: one weight matrix over and over, and rows for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper

from bench.models.graph import GraphWriter

WIDTH: Final = 256
STEPS: Final = 16
LAYERS: Final = 128
ROWS: Final = 4096
INPUT, OUTPUT = "steps", "state"


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Files for the server."""

    model_path: Path
    dataset_path: Path


def make_workload(folder: Path, *, seed: int = 0) -> Workload:
    """Write a model of 0.3 MB that takes some milliseconds a row, and 4,096 rows, which are one work unit."""
    random = np.random.default_rng(seed)
    graph = GraphWriter()
    weight = graph.constant("weight", (random.normal(size=(WIDTH, WIDTH)) / np.sqrt(WIDTH)).astype(np.float32))
    value = INPUT
    for layer in range(LAYERS):
        product = graph.node("MatMul", [value, weight], f"product.{layer}")
        value = graph.node("Tanh", [product], f"hidden.{layer}")
    graph.node("ReduceMean", [value], OUTPUT, axes=[1], keepdims=0)
    model = graph.model(
        "long",
        inputs=[helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["rows", STEPS, WIDTH])],
        outputs=[helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["rows", WIDTH])],
    )
    model_path, dataset_path = folder / "long.onnx", folder / "long.npz"
    onnx.save(model, model_path)
    # Zeros but for one number a row: what is measured is time, and the file stays small.
    rows = np.zeros((ROWS, STEPS, WIDTH), np.float32)
    rows[:, 0, 0] = random.normal(size=ROWS)
    np.savez_compressed(dataset_path, steps=rows)
    return Workload(model_path=model_path, dataset_path=dataset_path)
