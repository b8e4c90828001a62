"""The bare loop: onnxruntime and nothing else, in a process that can be held still.

Run as `python -m bench.efficiency.bare MODEL ROWS.npz BATCH_ROWS LEVEL`. It loads, warms up, and prints a line of JSON
for each block: the moment on the monotonic clock and the rows done so far. The options are those of the client's
runner, written out here once more: a loop that imported the client's would hide what the client does to itself.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any, Final

WARM_UP_BLOCKS: Final = 3
_LEVELS: Final = {"none": "DISABLE_ALL", "basic": "ENABLE_BASIC", "extended": "ENABLE_EXTENDED", "all": "ENABLE_ALL"}


def main(arguments: list[str]) -> None:
    """Run blocks until ended."""
    import numpy as np

    model, rows_path, batch_rows, level = arguments
    session = _open(model, level)
    with np.load(rows_path) as file:
        rows = {name: file[name] for name in file.files}
    names = [output.name for output in session.get_outputs()]
    block_rows, count = int(batch_rows), len(next(iter(rows.values())))
    starts = range(0, count - block_rows + 1, block_rows)
    for start in starts[:WARM_UP_BLOCKS]:
        session.run(names, {name: values[start : start + block_rows] for name, values in rows.items()})
    done = 0
    while True:
        for start in starts:
            session.run(names, {name: values[start : start + block_rows] for name, values in rows.items()})
            done += block_rows
            sys.stdout.write(json.dumps([time.monotonic(), done]) + "\n")
            sys.stdout.flush()


def _open(model: str, level: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_{_LEVELS[level]}")
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    # As the client's runner: whatever else wants the core comes first, for both alike.
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    main(sys.argv[1:])
