"""Loads the model as a car does, runs it on zeros, and measures: time, peak memory, output shapes, work per row."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import onnxruntime as ort

from workunits.sandbox import comparators, flops
from workunits.sandbox.report import ModelFacts, Problem, refuse
from workunits.sandbox.signature import WantedRun

OUT_OF_MEMORY = Problem(
    code="out_of_memory", where="", detail="Loading or running the model needs more memory than is allowed."
)
_NUMPY: dict[str, type[np.generic]] = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32, "I16": np.int16,
    "I8": np.int8, "U8": np.uint8, "BOOL": np.bool_,
}  # fmt: skip
DTYPE_OF = {np.dtype(kind): name for name, kind in _NUMPY.items()}


class MemoryProbe:
    """Reads this process's peak resident memory. Opened before the file system is shut."""

    def __init__(self) -> None:
        self._status = open("/proc/self/status", "rb", buffering=0)  # noqa: SIM115, PTH123  (held for the child's life)
        self._reset = open("/proc/self/clear_refs", "wb", buffering=0)  # noqa: SIM115, PTH123

    def reset_peak(self) -> None:
        """Let the peak start again from what is resident now."""
        self._reset.write(b"5")

    def peak_bytes(self) -> int:
        """Return the most that was resident since the last reset."""
        self._status.seek(0)
        for line in self._status.read().splitlines():
            if line.startswith(b"VmHWM:"):
                return int(line.split()[1]) * 1024
        return 1


def measure(model_bytes: bytes, wanted: WantedRun, probe: MemoryProbe) -> ModelFacts:
    """Run the model twice on zeros at `batch_rows` rows and count its FLOPs. Raises Refused."""
    probe.reset_peak()
    session = open_session(model_bytes, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
    names = [output["name"] for output in wanted.outputs]
    feed = zeros(wanted, wanted.batch_rows)
    first = _run(session, names, feed)
    started = time.perf_counter()
    second = _run(session, names, feed)
    seconds = time.perf_counter() - started
    memory_bytes = probe.peak_bytes()
    outputs = [_describe(out, array, wanted) for out, array in zip(wanted.outputs, first, strict=True)]
    _check_repeatable(names, first, second)
    del session, first, second
    return ModelFacts(
        opset=wanted.opset,
        operators=wanted.operators,
        inputs=wanted.inputs,
        outputs=outputs,
        batch_rows=wanted.batch_rows,
        flops_per_row=flops.count_per_row(model_bytes, zeros(wanted, 1)),
        memory_bytes=memory_bytes,
        seconds_per_block=seconds,
    )


def zeros(wanted: WantedRun, rows: int) -> dict[str, np.ndarray[Any, Any]]:
    """Return a feed of `rows` rows of zeros."""
    return {spec["name"]: np.zeros((rows, *spec["shape"]), _NUMPY[spec["dtype"]]) for spec in wanted.inputs}


def open_session(model: bytes, level: ort.GraphOptimizationLevel, save_to: str = "") -> ort.InferenceSession:
    """Open a session on one thread. Raises Refused with what the runtime says."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = level
    options.log_severity_level = 4
    if save_to:
        options.optimized_model_filepath = save_to
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001  onnxruntime raises a dozen unrelated classes, and bare ones for memory
        raise refuse("load_failed", "", f"onnxruntime cannot load the model: {_one_line(error)}") from None


def _run(
    session: ort.InferenceSession, names: list[str], feed: dict[str, np.ndarray[Any, Any]]
) -> list[np.ndarray[Any, Any]]:
    try:
        return list(session.run(names, feed))
    except Exception as error:  # noqa: BLE001  as above
        raise refuse("dry_run_failed", "", f"The model fails on rows of zeros: {_one_line(error)}") from None


def _describe(output: dict[str, Any], array: Any, wanted: WantedRun) -> dict[str, Any]:
    """Return the output's description for one row. Raises Refused when it is not one tensor row for each input row."""
    name = output["name"]
    where = f"output {name}"
    if not isinstance(array, np.ndarray) or array.dtype not in DTYPE_OF:
        kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise refuse("dtype_not_supported", where, f"Output {name!r} is {kind}; it must be a tensor of numbers.")
    if array.ndim == 0 or array.shape[0] != wanted.batch_rows:
        detail = f"Output {name!r} has shape {list(array.shape)} for {wanted.batch_rows} rows."
        raise refuse("output_without_rows", where, detail)
    dtype, shape = DTYPE_OF[array.dtype], [int(extent) for extent in array.shape[1:]]
    comparator = output.get("comparator") or comparators.choose(dtype, shape, wanted.endings.get(name, "other"))
    tolerance = output.get("tolerance")
    if tolerance is None or comparator == "exact":
        tolerance = comparators.default_tolerance(comparator, dtype)
    return {"name": name, "dtype": dtype, "shape": shape, "comparator": comparator, "tolerance": float(tolerance)}


def _check_repeatable(names: list[str], first: list[np.ndarray[Any, Any]], second: list[np.ndarray[Any, Any]]) -> None:
    for name, left, right in zip(names, first, second, strict=True):
        if left.tobytes() != right.tobytes():
            detail = f"Output {name!r} differs between two runs on the same rows, so cars could never agree."
            raise refuse("not_repeatable", f"output {name}", detail)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
