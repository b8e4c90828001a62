"""Reads a model's inputs and outputs and makes every dimension of a row fixed.

A model takes rows: each input is a tensor whose first dimension counts rows (free, or 1). What else is free must be
given a value by the request.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from onnx import ModelProto, TensorProto, TensorShapeProto, ValueInfoProto

from workunits.domain.types import DTYPE_BYTES
from workunits.sandbox import comparators, plausible
from workunits.sandbox.endings import Ending, endings, find_precision
from workunits.sandbox.operators import canonical_domain
from workunits.sandbox.report import AdmissionRequest, Problem, Refused

DTYPES: Final[dict[int, str]] = {
    TensorProto.FLOAT: "F32",
    TensorProto.DOUBLE: "F64",
    TensorProto.FLOAT16: "F16",
    TensorProto.INT64: "I64",
    TensorProto.INT32: "I32",
    TensorProto.INT16: "I16",
    TensorProto.INT8: "I8",
    TensorProto.UINT8: "U8",
    TensorProto.BOOL: "BOOL",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class WantedRun:
    """What the dry run should feed and fetch.

    `endings` says how the graph ends at each output, `precision` what it computes with, `index_bounds` how large inputs
    may get that index a table.
    """

    opset: int
    operators: list[str]
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    endings: dict[str, Ending]
    precision: str
    index_bounds: dict[str, int]
    batch_rows: int
    has_free_rows: bool


def read_signature(model: ModelProto, request: AdmissionRequest) -> WantedRun:
    """Return what to run; raises Refused naming every input, dimension and output that stands in the way."""
    problems: list[Problem] = []
    given = {tensor.name for tensor in model.graph.initializer}
    values = [value for value in model.graph.input if value.name not in given]
    used: set[str] = set()
    inputs = [_read_input(value, request, used, problems) for value in values]
    outputs = _wanted_outputs(model, request, problems)
    problems += [
        Problem(code="name_not_printable", where=repr(name), detail=f"{name!r} cannot name an input or output.")
        for name in (*(value.name for value in values), *(output["name"] for output in outputs))
        if not name or not name.isprintable() or len(name) > request.limits.name_chars_max
    ]
    problems += _count_problems(len(inputs), len(outputs), request)
    problems += [
        Problem(code="unknown_dimension", where=name, detail=f"fixed_dims names {name!r}, which is no free dimension.")
        for name in sorted(set(request.fixed_dims) - used)
    ]
    if problems:
        raise Refused(*problems)
    has_free_rows = all(_extent(value.type.tensor_type.shape.dim[0]) is None for value in values)
    return WantedRun(
        opset=_opset(model),
        operators=sorted({f"{domain}.{op}" if domain else op for domain, op in _operators(model)}),
        inputs=[described for described in inputs if described is not None],
        outputs=outputs,
        endings=endings(model.graph),
        precision=find_precision(model.graph),
        index_bounds=plausible.index_bounds(model.graph),
        batch_rows=request.batch_rows if has_free_rows else 1,
        has_free_rows=has_free_rows,
    )


def _read_input(
    value: ValueInfoProto, request: AdmissionRequest, used: set[str], problems: list[Problem]
) -> dict[str, Any] | None:
    where = f"input {value.name}"

    def problem(code: str, detail: str) -> None:
        problems.append(Problem(code=code, where=where, detail=detail))

    if not value.type.HasField("tensor_type"):
        problem("not_a_tensor", f"Input {value.name!r} is not a tensor.")
        return None
    dtype = DTYPES.get(value.type.tensor_type.elem_type)
    if dtype is None:
        known, kind = TensorProto.DataType, value.type.tensor_type.elem_type
        name = known.Name(kind) if kind in known.values() else f"of the unknown type {kind}"
        problem("dtype_not_supported", f"Input {value.name!r} is {name}; allowed are {', '.join(DTYPES.values())}.")
        return None
    dims = list(value.type.tensor_type.shape.dim)
    if not dims or _extent(dims[0]) not in (None, 1):
        problem("no_row_dimension", f"The first dimension of input {value.name!r} must be free (rows) or 1.")
        return None
    shape = [_fix(value.name, axis, dim, request, used, problems) for axis, dim in enumerate(dims) if axis > 0]
    if math.prod(shape) * DTYPE_BYTES[dtype] > request.limits.row_bytes_max:
        problem("row_too_large", f"A row of input {value.name!r} has more than {request.limits.row_bytes_max} bytes.")
    return {"name": value.name, "dtype": dtype, "shape": shape}


def _fix(
    name: str,
    axis: int,
    dim: TensorShapeProto.Dimension,
    request: AdmissionRequest,
    used: set[str],
    problems: list[Problem],
) -> int:
    """Return the extent of a dimension, from the model or from the request; 1 after noting a problem."""
    fixed = _extent(dim)
    by_axis = f"{name}:{axis}"
    key = by_axis if by_axis in request.fixed_dims else dim.dim_param
    if fixed is None and key in request.fixed_dims:
        used.add(key)
        fixed = request.fixed_dims[key]
    if fixed is not None and fixed > 0:
        return fixed
    call = dim.dim_param or by_axis
    problems.append(
        Problem(
            code="free_dimension",
            where=f"input {name}, axis {axis}",
            detail=f"Dimension {call!r} (axis {axis} of input {name!r}) is free: give it a value in fixed_dims.",
        )
    )
    return 1


def _extent(dim: TensorShapeProto.Dimension) -> int | None:
    """Return a fixed extent; None for a free one (some exporters write 0 or -1 for free)."""
    return dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None


def _wanted_outputs(model: ModelProto, request: AdmissionRequest, problems: list[Problem]) -> list[dict[str, Any]]:
    names = [value.name for value in model.graph.output]
    if request.outputs is None:
        return [{"name": name} for name in names]
    for wanted in request.outputs:
        name, comparator = wanted.get("name"), wanted.get("comparator")
        if name not in names:
            detail = f"The model has no output {name!r}; it has {', '.join(names)}."
            problems.append(Problem(code="unknown_output", where=f"output {name}", detail=detail))
        if comparator is not None and comparator not in comparators.COMPARATORS:
            detail = f"Comparator {comparator!r} is unknown; there are {', '.join(comparators.COMPARATORS)}."
            problems.append(Problem(code="unknown_comparator", where=f"output {name}", detail=detail))
    return request.outputs


def _count_problems(inputs: int, outputs: int, request: AdmissionRequest) -> Iterator[Problem]:
    limits = request.limits
    if not 1 <= inputs <= limits.inputs_max:
        yield Problem(code="inputs_count", where="", detail=f"{inputs} inputs; 1 to {limits.inputs_max} are allowed.")
    if not 1 <= outputs <= limits.outputs_max:
        yield Problem(
            code="outputs_count", where="", detail=f"{outputs} outputs; 1 to {limits.outputs_max} are allowed."
        )


def _opset(model: ModelProto) -> int:
    return next((entry.version for entry in model.opset_import if canonical_domain(entry.domain) == ""), 1)


def _operators(model: ModelProto) -> Iterator[tuple[str, str]]:
    from workunits.sandbox.structure import walk_graphs

    for graph, _ in walk_graphs(model.graph):
        for node in graph.node:
            yield canonical_domain(node.domain), node.op_type
