"""Outputs to compare: what the result file says, and what onnxruntime says when it is asked directly."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pyarrow.parquet as pq

from bench.demo.settings import BLOCK_ROWS

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Result:
    """A result file: the number of each row, whether it has an output, and the outputs `{name: [rows, *shape]}`."""

    row_numbers: npt.NDArray[np.int64]
    is_ok: npt.NDArray[np.bool_]
    outputs: dict[str, Array]


def read_result(path: Path) -> Result:
    """Read a Parquet or NPZ result."""
    return _read_npz(path) if path.suffix == ".npz" else _read_parquet(path)


def run_directly(model_path: Path, inputs: dict[str, Array]) -> dict[str, Array]:
    """Run the rows through the model in this process, without any of FleetCompute's code, and return its outputs.

    One thread a block, and a block for each core at a time: that is faster than all cores on one small block.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model_path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    rows = len(next(iter(inputs.values())))

    def run_block(start: int) -> list[Array]:
        block: list[Array] = session.run(
            names, {name: values[start : start + BLOCK_ROWS] for name, values in inputs.items()}
        )
        return block

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        blocks = list(pool.map(run_block, range(0, rows, BLOCK_ROWS)))
    return {name: np.concatenate([block[index] for block in blocks]) for index, name in enumerate(names)}


def _read_npz(path: Path) -> Result:
    with np.load(path, allow_pickle=False) as content:
        outputs = {name: content[name] for name in content.files if name not in ("row", "row_ok")}
        return Result(row_numbers=content["row"], is_ok=content["row_ok"], outputs=outputs)


def _read_parquet(path: Path) -> Result:
    table = pq.read_table(path)
    outputs = {name: _to_array(table.column(name)) for name in table.column_names if name not in ("row", "status")}
    is_ok = np.array([status == "ok" for status in table.column("status").to_pylist()])
    return Result(row_numbers=table.column("row").to_numpy(), is_ok=is_ok, outputs=outputs)


def _to_array(column: Any) -> Array:
    """Return a column of numbers or of fixed-size lists; a row without an output becomes zeros."""
    array = column.combine_chunks()
    shape = [len(array)]
    while hasattr(array.type, "list_size"):
        shape.append(array.type.list_size)
        array = array.fill_null([0] * array.type.list_size) if array.null_count else array
        array = array.flatten()
    return np.asarray(array.to_numpy(zero_copy_only=False)).reshape(shape)
