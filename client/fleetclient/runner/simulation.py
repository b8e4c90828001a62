"""The two lies a simulated car can tell: that it is slow, and that its numbers are right.

For demonstrations and tests. A real car's configuration has no `[simulation]` section, and nothing here runs. No car
can play one that copies: nothing that it is ever told holds another car's output, digest or sketch.
"""

from __future__ import annotations

import hashlib
import time

import numpy as np
from numpy import random  # numpy loads it at first use, and after the walls nothing can be loaded

from fleetclient.runner.compute import Array, Tensors
from fleetclient.runner.jobs import Job, RunnerSettings

NOISE_SHARE = 0.3


def sleep_to_speed(cpu_seconds: float, speed: float) -> None:
    """Sleep so that work of `cpu_seconds` takes as long as it would on a machine `speed` times as fast."""
    if speed < 1.0:
        time.sleep(cpu_seconds * (1.0 / speed - 1.0))


def falsify(outputs: Tensors, settings: RunnerSettings, job: Job) -> Tensors:
    """Return numbers that look right: rows exchanged, noise added and labels off by one, or rounded to fp16.

    Cars with the same seed tell the same lie about the same input, so that colluding cars can be played too.
    """
    lie = random.default_rng(_seed(settings.fault_seed, job.input_digest))
    if settings.fault == "none" or lie.random() >= settings.fault_rate:
        return outputs
    if settings.fault == "downgrade":
        return {name: _rounded(outputs[name]) for name in sorted(outputs)}
    order = lie.permutation(job.rows)
    return {name: _wrong(outputs[name][order], lie) for name in sorted(outputs)}


def _seed(fault_seed: int, input_digest: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{fault_seed}:{input_digest}".encode()).digest()[:8], "big")


def _rounded(rows: Array) -> Array:
    if rows.dtype.kind != "f":
        return rows
    with np.errstate(over="ignore"):  # what fp16 cannot hold becomes infinite in it
        rounded: Array = rows.astype(np.float16).astype(rows.dtype)
    return rounded


def _wrong(rows: Array, lie: random.Generator) -> Array:
    if rows.dtype == np.bool_:
        return np.logical_not(rows)
    if rows.dtype.kind in "iu":
        flipped: Array = np.bitwise_xor(rows, rows.dtype.type(1))
        return flipped
    spread = float(np.std(rows.astype(np.float64))) or 1.0
    noise = lie.normal(0.0, NOISE_SHARE * spread, rows.shape)
    return (rows.astype(np.float64) + noise).astype(rows.dtype)
