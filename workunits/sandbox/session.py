"""Opening a model in the runtime, as a car does; shared by everything that runs it here."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import onnxruntime as ort

from workunits.sandbox.report import refuse

NUMPY: Final[dict[str, type[np.generic]]] = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32, "I16": np.int16,
    "I8": np.int8, "U8": np.uint8, "BOOL": np.bool_,
}  # fmt: skip
DTYPE_OF: Final[dict[Any, str]] = {np.dtype(kind): name for name, kind in NUMPY.items()}


def open_session(
    model: bytes, level: ort.GraphOptimizationLevel, save_to: str = "", threads: int = 1
) -> ort.InferenceSession:
    """Open a session on one thread unless told otherwise. Raises Refused with what the runtime says."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = level
    options.log_severity_level = 4
    if save_to:
        options.optimized_model_filepath = save_to
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001  onnxruntime raises a dozen unrelated classes, and bare ones for memory
        raise refuse("load_failed", "", f"onnxruntime cannot load the model: {one_line(error)}") from None


def one_line(error: Exception) -> str:
    """Return the message of whatever the runtime raised, without its line breaks."""
    return " ".join(str(error).split())
