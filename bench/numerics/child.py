"""Runs one model in several ways with whatever onnxruntime this process finds: `python -m bench.numerics.child JOB`.

JOB is a JSON file: `{"ways": [{"model", "rows", "outputs", "level", "threads", "block", "to"}]}`; `rows` and `to` are
npz files. Prints the runtime's version.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

LEVELS = {
    "none": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


def main(path: str) -> None:
    """Run every way of the job."""
    for way in json.loads(Path(path).read_text(encoding="utf-8"))["ways"]:
        run_way(way)
    print(ort.__version__)


def run_way(way: dict[str, Any]) -> None:
    """Run the model over all rows, block by block, and write its outputs."""
    options = ort.SessionOptions()
    options.graph_optimization_level = LEVELS[way["level"]]
    options.intra_op_num_threads, options.inter_op_num_threads = way["threads"], 1
    options.use_deterministic_compute = True
    options.log_severity_level = 4
    session = ort.InferenceSession(way["model"], options, providers=["CPUExecutionProvider"])
    with np.load(way["rows"]) as stored:
        rows = dict(stored)
    count = len(next(iter(rows.values())))
    blocks = []
    for first in range(0, count, way["block"]):
        part = {name: array[first : first + way["block"]] for name, array in rows.items()}
        blocks.append(session.run(way["outputs"], part))
    joined = {
        name: np.concatenate(arrays) for name, arrays in zip(way["outputs"], zip(*blocks, strict=True), strict=True)
    }
    np.savez(way["to"], allow_pickle=False, **joined)


if __name__ == "__main__":
    main(sys.argv[1])
