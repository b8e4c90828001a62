"""Running one unit: block after block of rows through the model, outputs into one safetensors document.

Runs in the child; numpy and onnxruntime live here. Nothing is compared, scaled or rounded.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from safetensors.numpy import load_file, save

from fleetclient.files import rename_durably
from fleetclient.wire import Contract, TensorSpec

Array = npt.NDArray[Any]
Tensors = dict[str, Array]

_DTYPES: dict[str, npt.DTypeLike] = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32, "I16": np.int16,
    "I8": np.int8, "U8": np.uint8, "BOOL": np.bool_,
}  # fmt: skip
_LEVELS = {
    "none": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
LOG_FATAL_ONLY = 4


class TensorsUnfit(Exception):
    """Tensors differ from the contract in name, dtype or shape."""


class OutputTooLarge(Exception):
    """The output is over the contract's `output_bytes_max`."""


def open_session(model_path: Path, contract: Contract) -> onnxruntime.InferenceSession:
    """Return a session with every option pinned that outputs or the owner's peace depend on.

    The model is passed as bytes: together with an empty working folder, external data has nothing to refer to.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = _LEVELS[contract.session.graph_optimization]
    options.intra_op_num_threads = contract.session.intra_op_threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    options.log_severity_level = LOG_FATAL_ONLY
    # A spinning thread burns a core while it waits for the next unit.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model_path.read_bytes(), options, providers=["CPUExecutionProvider"])


def load_inputs(path: Path, contract: Contract, rows: int) -> Tensors:
    """Return the input rows; raises TensorsUnfit unless they are exactly what the contract says."""
    tensors = load_file(path)
    _check(tensors, contract.inputs, rows)
    return tensors


def run_blocks(
    session: onnxruntime.InferenceSession,
    contract: Contract,
    inputs: Tensors,
    rows: int,
    block_done: Callable[[int], None],
) -> Tensors:
    """Return the outputs of all rows; `block_done(rows_done)` is called after each block of `batch_rows`."""
    names = [tensor.name for tensor in contract.outputs]
    blocks: list[list[Array]] = []
    for start, end in _bounds(rows, contract.batch_rows):
        outputs = session.run(names, {name: tensor[start:end] for name, tensor in inputs.items()})
        _check(dict(zip(names, outputs, strict=True)), contract.outputs, end - start)
        blocks.append(outputs)
        block_done(end)
    return {name: np.concatenate([block[index] for block in blocks]) for index, name in enumerate(names)}


def encode_output(outputs: Tensors, contract: Contract) -> bytes:
    """Return the output document; raises OutputTooLarge."""
    document = save({name: np.ascontiguousarray(tensor) for name, tensor in outputs.items()})
    if len(document) > contract.limits.output_bytes_max:
        raise OutputTooLarge(f"{len(document)} bytes, the contract allows {contract.limits.output_bytes_max}")
    return document


def write_output(path: Path, document: bytes) -> None:
    """Put the output on disk under its final name, whole or not at all."""
    temporary = path.with_suffix(".part")
    with temporary.open("wb") as file:
        file.write(document)
        file.flush()
        os.fsync(file.fileno())
    rename_durably(temporary, path)


def _bounds(rows: int, batch_rows: int) -> Iterator[tuple[int, int]]:
    for start in range(0, rows, batch_rows):
        yield start, min(start + batch_rows, rows)


def _check(tensors: Tensors, specs: tuple[TensorSpec, ...], rows: int) -> None:
    if tensors.keys() != {spec.name for spec in specs}:
        raise TensorsUnfit(f"tensors are {sorted(tensors)}")
    for spec in specs:
        found = tensors[spec.name]
        if found.dtype != _DTYPES[spec.dtype] or found.shape != (rows, *spec.shape):
            raise TensorsUnfit(f"{spec.name} is {found.dtype} {list(found.shape)}, not {rows} rows of {spec}")
