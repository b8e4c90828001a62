"""The model that cars run here: logits by a small network in numpy, whose right answer anybody can compute.

A comparison class adds the noise of its kernels: a few units in the last place, the same whenever it runs the same
input, so that two classes never agree by digest and always do by distance.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.float32]

FEATURES: Final = 8
CLASSES: Final = 16
UNIT_ROWS: Final = 8
# Relative, as B.2 of the literature measured it between kernels of one precision.
NOISE: Final = 2e-7
TOLERANCE: Final = 1e-4
INPUT: Final[dict[str, Any]] = {"name": "x", "dtype": "F32", "shape": [FEATURES]}
OUTPUT: Final[dict[str, Any]] = {
    "name": "logits", "dtype": "F32", "shape": [CLASSES], "comparator": "logits", "tolerance": TOLERANCE,
}  # fmt: skip
# A unit keeps the reference car busy for its minute.
FLOPS_PER_ROW: Final = 375_000_000_000

SCALE: Final = 4.0

_weights = np.random.default_rng(20).normal(size=(FEATURES, CLASSES))


def make_inputs(rows: int, seed: int) -> Rows:
    """Return the dataset's rows."""
    return np.random.default_rng(seed).normal(size=(rows, FEATURES)).astype(np.float32)


def compute(inputs: Rows) -> Rows:
    """Return the right logits, rounded once."""
    return (np.tanh(inputs.astype(np.float64)) @ _weights * SCALE).astype(np.float32)


def describe() -> str:
    """Return the network as the anchors' command reads it."""
    return json.dumps({"weights": _weights.tolist(), "scale": SCALE, "output": OUTPUT["name"]})


def compute_in_half(inputs: Rows) -> Rows:
    """Return what a car computes that runs the model in half precision."""
    half = np.tanh(inputs.astype(np.float16)) @ _weights.astype(np.float16) * np.float16(SCALE)
    return half.astype(np.float32)


def with_noise(outputs: Rows, comparison_class: str, input_digest: bytes) -> Rows:
    """Return outputs as the kernels of a class would have rounded them."""
    seed = hashlib.sha256(comparison_class.encode() + input_digest).digest()[:8]
    noise = np.random.default_rng(int.from_bytes(seed, "big")).normal(size=outputs.shape)
    return (outputs.astype(np.float64) * (1.0 + NOISE * noise)).astype(np.float32)


def row_distances(outputs: Rows, truth: Rows) -> npt.NDArray[np.float64]:
    """Return how far each row is from the truth, relative to its norm; infinite where it is no row at all."""
    if outputs.shape != truth.shape:
        return np.full(len(truth), np.inf)
    wide = truth.astype(np.float64)
    distances = np.linalg.norm(outputs.astype(np.float64) - wide, axis=1) / np.linalg.norm(wide, axis=1)
    return np.where(np.isfinite(distances), distances, np.inf)


def is_wrong(outputs: Rows, truth: Rows) -> bool:
    """Return whether an output has a row outside the tolerance."""
    return bool((row_distances(outputs, truth) > TOLERANCE).any())
