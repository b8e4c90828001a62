"""Loads the model as a car does, runs it on zeros, and measures: time, peak memory, output shapes, work per row."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import onnxruntime as ort

from workunits.domain.calibration import tolerance_floor
from workunits.domain.comparison import OptionInvalid, find_misfits, read_output_specs
from workunits.sandbox import calibrate, comparators, flops
from workunits.sandbox.endings import OTHER
from workunits.sandbox.report import Arrays, ModelFacts, Problem, Refused, refuse
from workunits.sandbox.session import DTYPE_OF, NUMPY, one_line, open_session
from workunits.sandbox.signature import WantedRun

OUT_OF_MEMORY = Problem(
    code="out_of_memory", where="", detail="Loading or running the model needs more memory than is allowed."
)
# A tenth of an output's size: beyond, nearly anything would agree.
TOLERANCE_MAX = 0.1


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
    stated = frozenset(out["name"] for out in wanted.outputs if out.get("comparator"))
    comparators.join_choices(outputs, wanted.endings, stated)
    judged = stated | {out["name"] for out in wanted.outputs if out.keys() & {"tolerance", "options"}}
    comparators.join_detections(outputs, wanted.endings, judged, wanted.precision)
    comparators.spare_masks(outputs, wanted.endings, judged, wanted.precision)
    _check_comparators(outputs, wanted)
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
        tolerances=calibrate.calibrate(model_bytes, wanted, outputs, seconds),
    )


def zeros(wanted: WantedRun, rows: int) -> Arrays:
    """Return a feed of `rows` rows of zeros."""
    return {spec["name"]: np.zeros((rows, *spec["shape"]), NUMPY[spec["dtype"]]) for spec in wanted.inputs}


def _run(session: ort.InferenceSession, names: list[str], feed: Arrays) -> list[np.ndarray[Any, Any]]:
    try:
        return list(session.run(names, feed))
    except Exception as error:  # noqa: BLE001  as above
        raise refuse("dry_run_failed", "", f"The model fails on rows of zeros: {one_line(error)}") from None


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
    comparator, options = output.get("comparator"), output.get("options")
    if comparator is None:
        comparator, chosen = comparators.choose(dtype, shape, wanted.endings.get(name, OTHER))
        options = chosen if options is None else options
    precision = comparators.find_precision(dtype, comparator, wanted.precision, wanted.endings.get(name, OTHER))
    tolerance = _tolerance(output, comparator, options or {}, precision)
    described = {"name": name, "dtype": dtype, "shape": shape, "comparator": comparator, "tolerance": tolerance}
    return {**described, "options": options} if options else described


def _tolerance(output: dict[str, Any], comparator: str, options: dict[str, Any], precision: str) -> float:
    """Return what the researcher stated, or else the comparator's cap. Raises Refused for one that is too small."""
    cap = comparators.default_tolerance(comparator, precision)
    if comparator == "tokens" and not options.get("companion") and options.get("sequential", True):
        cap = 0.0  # nothing says how close a choice was
    stated = output.get("tolerance")
    if stated is None or cap == 0:
        return cap
    floor = tolerance_floor(comparator, precision)
    if not floor <= stated <= TOLERANCE_MAX:
        detail = (
            f"The tolerance of {output['name']!r} must be {floor:g} to {TOLERANCE_MAX:g} for comparator"
            f" {comparator!r}, not {stated:g}: honest computers differ by more than less."
        )
        raise refuse("tolerance_out_of_range", f"output {output['name']}", detail)
    return float(stated)


def _check_comparators(outputs: list[dict[str, Any]], wanted: WantedRun) -> None:
    """Refuse comparators that cannot judge what these outputs are. Raises Refused."""
    for output in outputs:
        try:
            read_output_specs([output])
        except OptionInvalid as problem:
            raise refuse("invalid_output_option", f"output {output['name']}", str(problem)) from None
    misfits = [*find_misfits(read_output_specs(outputs)), *comparators.find_coarse(outputs, wanted.endings)]
    if misfits:
        raise Refused(
            *(
                Problem(code="comparator_misfit", where=f"output {name}", detail=f"Output {name!r}: {sentence}")
                for name, sentence in misfits
            )
        )


def _check_repeatable(names: list[str], first: list[np.ndarray[Any, Any]], second: list[np.ndarray[Any, Any]]) -> None:
    for name, left, right in zip(names, first, second, strict=True):
        if left.tobytes() != right.tobytes():
            detail = f"Output {name!r} differs between two runs on the same rows, so cars could never agree."
            raise refuse("not_repeatable", f"output {name}", detail)
