"""Running one unit: batch after batch of rows through the model. Nothing is compared, scaled or rounded.

Runs in the child; numpy and onnxruntime live here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

# Official builds of the runtime start a thread at import that sends usage data. Read once, so set before.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import numpy.typing as npt
import onnxruntime
from safetensors.numpy import load

from fleetclient.wire import Contract, TensorSpec

Array = npt.NDArray[Any]
Tensors = dict[str, Array]

DTYPES: dict[str, npt.DTypeLike] = {
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


def open_session(model: bytes, contract: Contract, providers: Sequence[str]) -> onnxruntime.InferenceSession:
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
    return onnxruntime.InferenceSession(model, options, providers=list(providers))


def load_inputs(document: bytes, contract: Contract, rows: int) -> Tensors:
    """Return the input rows; raises TensorsUnfit unless they are exactly what the contract says."""
    tensors = load(document)
    _check(tensors, contract.inputs, rows)
    return tensors


def run_batches(
    session: onnxruntime.InferenceSession, contract: Contract, inputs: Tensors, *, start: int, rows: int
) -> Iterator[list[Array]]:
    """Yield the outputs of each batch from row `start` on, in the contract's order."""
    names = [tensor.name for tensor in contract.outputs]
    for first in range(start, rows, contract.batch_rows):
        end = min(first + contract.batch_rows, rows)
        outputs = session.run(names, {name: tensor[first:end] for name, tensor in inputs.items()})
        _check(dict(zip(names, outputs, strict=True)), contract.outputs, end - first)
        yield outputs


def _check(tensors: Tensors, specs: tuple[TensorSpec, ...], rows: int) -> None:
    if tensors.keys() != {spec.name for spec in specs}:
        raise TensorsUnfit(f"tensors are {sorted(tensors)}")
    for spec in specs:
        found = tensors[spec.name]
        if found.dtype != DTYPES[spec.dtype] or found.shape != (rows, *spec.shape):
            raise TensorsUnfit(f"{spec.name} is {found.dtype} {list(found.shape)}, not {rows} rows of {spec}")
