"""A contract: the model, the shapes and the limits that many leases of one batch share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fleetclient.wire.fields import Document, MalformedMessage, as_document, hex_text, items, text, whole

# Bytes of one element of each safetensors dtype that the wire knows.
DTYPE_BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
GRAPH_OPTIMIZATIONS = ("none", "basic", "extended", "all")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelRef:
    """The model's content address and size."""

    sha256: str
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorSpec:
    """One named input or output; `shape` is of one row, without the leading row dimension.

    `comparator` says how outputs are compared, and so how they are sketched; an older server does not say. `axis` is
    that of the classes in `shape`.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    comparator: str = ""
    axis: int = -1


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one unit may use: memory beyond the runtime's own, wall seconds, output size, inline size."""

    memory_bytes: int
    seconds: int
    output_bytes_max: int
    inline_bytes_max: int


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionOptions:
    """The onnxruntime options that outputs depend on, pinned so that cars can be compared."""

    graph_optimization: str
    intra_op_threads: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Contract:
    """All that the runner needs to know besides the input rows."""

    model: ModelRef
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batch_rows: int
    limits: Limits
    session: SessionOptions


def read_contract(value: object) -> Contract:
    """Return the contract in a document; raises MalformedMessage."""
    document = as_document(value, "contract")
    model = as_document(document.get("model"), "model")
    limits = as_document(document.get("limits"), "limits")
    return Contract(
        model=ModelRef(sha256=hex_text(model, "sha256", 64), bytes=whole(model, "bytes", low=1)),
        inputs=items(document, "inputs", _read_tensor),
        outputs=items(document, "outputs", _read_tensor),
        batch_rows=whole(document, "batch_rows", low=1),
        limits=Limits(**{name: whole(limits, name) for name in Limits.__slots__}),
        session=_read_session(as_document(document.get("session"), "session")),
    )


def dump_contract(contract: Contract) -> Document:
    """Return the document that `read_contract` reads."""
    return {
        "model": {"sha256": contract.model.sha256, "bytes": contract.model.bytes},
        "inputs": [_dump_tensor(tensor) for tensor in contract.inputs],
        "outputs": [_dump_tensor(tensor) for tensor in contract.outputs],
        "batch_rows": contract.batch_rows,
        "limits": {name: getattr(contract.limits, name) for name in Limits.__slots__},
        "session": {name: getattr(contract.session, name) for name in SessionOptions.__slots__},
    }


def _read_tensor(value: Any) -> TensorSpec:
    document = as_document(value, "tensor")
    dtype = text(document, "dtype")
    if dtype not in DTYPE_BYTES:
        raise MalformedMessage(f"dtype {dtype!r} is not known")
    shape = items(document, "shape", _read_dimension)
    return TensorSpec(
        name=text(document, "name"),
        dtype=dtype,
        shape=shape,
        comparator=text(document, "comparator") if "comparator" in document else "",
        axis=_read_axis(document, len(shape)),
    )


def _read_dimension(value: Any) -> int:
    return whole({"dimension": value}, "dimension")


def _read_axis(document: Document, axes: int) -> int:
    axis = document.get("axis", -1)
    if type(axis) is not int or not -max(1, axes) <= axis < axes:
        raise MalformedMessage(f"axis {axis!r} is none of {axes}")
    return axis


def _read_session(document: Document) -> SessionOptions:
    level = text(document, "graph_optimization")
    if level not in GRAPH_OPTIMIZATIONS:
        raise MalformedMessage(f"graph_optimization {level!r} is not known")
    return SessionOptions(
        graph_optimization=level, intra_op_threads=whole(document, "intra_op_threads", low=1, high=256)
    )


def _dump_tensor(tensor: TensorSpec) -> Document:
    document: Document = {"name": tensor.name, "dtype": tensor.dtype, "shape": list(tensor.shape)}
    if tensor.comparator:
        document["comparator"] = tensor.comparator
    return {**document, "axis": tensor.axis} if tensor.axis != -1 else document
