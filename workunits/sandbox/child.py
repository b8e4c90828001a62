"""The child process: reads the request from its arguments and the model from standard input, answers one JSON report.

Order matters: import, lock down, only then read; static checks before anything loads the model into a runtime.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys

# Every import happens before the file system is shut.
import onnx
import onnx.checker
import onnx.numpy_helper
import onnx.shape_inference  # noqa: F401
import onnxruntime

from workunits.sandbox import calibrate, dryrun, jail, signature, structure
from workunits.sandbox.report import AdmissionRequest, ModelFacts, Problem, Refused, refuse

_DETAIL_CHARS_MAX = 600


def main() -> None:
    """Examine the model on standard input and write the report to standard output."""
    request = AdmissionRequest.from_json(sys.argv[1])
    answer_fd = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints must not mix with the report
    onnxruntime.set_default_logger_severity(4)
    probe = dryrun.MemoryProbe()
    calibrate.warm_up()
    locks = jail.lock_down(request.limits, parent_pid=int(sys.argv[2]))
    model_bytes = _read_up_to(request.limits.model_bytes_max + 1)
    report: dict[str, object] = {"locks": locks, "problems": [], "facts": None}
    try:
        report["facts"] = dataclasses.asdict(examine(model_bytes, request, probe))
    except Refused as refusal:
        report["problems"] = [_bounded(problem) for problem in refusal.problems[: request.limits.problems_max]]
    except MemoryError:
        report["problems"] = [_bounded(dryrun.OUT_OF_MEMORY)]
    answer = memoryview(json.dumps(report).encode())
    while answer:
        answer = answer[os.write(answer_fd, answer) :]


def _read_up_to(length: int) -> bytes:
    """Read standard input by plain reads: file objects ask the kernel for more than is left to this process."""
    parts = []
    while length and (part := os.read(0, length)):
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def examine(model_bytes: bytes, request: AdmissionRequest, probe: dryrun.MemoryProbe) -> ModelFacts:
    """Check the model, run it on zeros, count its work. Raises Refused with all problems of the first failing stage."""
    limits = request.limits
    if len(model_bytes) > limits.model_bytes_max:
        raise refuse("model_too_large", "", f"The file has more than {limits.model_bytes_max} bytes.")
    model = structure.parse(model_bytes)
    structure.check(model, model_bytes, limits)
    wanted = signature.read_signature(model, request)
    del model  # the peak that the dry run measures should be the runtime's, not the parser's
    return dryrun.measure(model_bytes, wanted, probe)


def _bounded(problem: Problem) -> dict[str, str]:
    return {name: text[:_DETAIL_CHARS_MAX] for name, text in dataclasses.asdict(problem).items()}


if __name__ == "__main__":
    main()
