"""Safetensors documents: the header that belongs to given tensors, strict checks of what a car sent, views of the data.

A document is 8 bytes (length of the header, little-endian), the header (JSON, padded with blanks), the data.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from workunits.domain.errors import FleetError
from workunits.domain.types import TensorSpec

Tensor = npt.NDArray[Any]

LENGTH_BYTES: Final = 8
HEADER_BYTES_MAX: Final = 64 * 1024
NUMPY_DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"), "I16": np.dtype("<i2"), "I8": np.dtype("i1"), "U8": np.dtype("u1"), "BOOL": np.dtype("?"),
}  # fmt: skip
# The library writes tensors with the largest alignment first; these are its ranks.
_DTYPE_ORDER: Final = ("I64", "F64", "F32", "I32", "F16", "I16", "I8", "U8", "BOOL")


class OutputMalformed(FleetError):
    """The output is not a safetensors document with exactly the tensors of the contract."""

    code: ClassVar[str] = "output_malformed"


def order_tensors(specs: Sequence[TensorSpec]) -> list[TensorSpec]:
    """Return the specs in the order in which the safetensors library lays out their data."""
    return sorted(specs, key=lambda spec: (_DTYPE_ORDER.index(spec.dtype), spec.name))


@lru_cache(maxsize=1024)
def make_header(specs: tuple[TensorSpec, ...], rows: int) -> bytes:
    """Return the start of a document with a tensor `[rows, *shape]` for each spec, byte for byte the library's."""
    entries: dict[str, dict[str, object]] = {}
    start = 0
    for spec in order_tensors(specs):
        end = start + rows * spec.bytes_per_row
        entries[spec.name] = {"dtype": spec.dtype, "shape": [rows, *spec.shape], "data_offsets": [start, end]}
        start = end
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    padded = text + b" " * (-len(text) % 8)
    return len(padded).to_bytes(LENGTH_BYTES, "little") + padded


def document_bytes(specs: Sequence[TensorSpec], rows: int) -> int:
    """Return the exact size of a document with these tensors."""
    return len(make_header(tuple(specs), rows)) + rows * sum(spec.bytes_per_row for spec in specs)


def check_document(data: bytes | memoryview, specs: Sequence[TensorSpec], rows: int) -> None:
    """Return if `data` is one document with exactly these tensors of `rows` rows; raise OutputMalformed otherwise.

    Strict: no metadata, no other tensor, no hole, no overlap, no byte behind the last tensor, booleans 0 or 1.
    The library's own layout, which nearly every car sends, costs one comparison; others are parsed.
    """
    header = make_header(tuple(specs), rows)
    size = len(header) + rows * sum(spec.bytes_per_row for spec in specs)
    is_usual = len(data) == size and bytes(data[: len(header)]) == header
    if not is_usual or any(spec.dtype == "BOOL" for spec in specs):
        _check_tensors(data, _read_header(data), specs, rows)


def read_tensors(data: bytes | memoryview) -> dict[str, Tensor]:
    """Return the tensors of a document that was checked before, as read-only views into `data`."""
    base = _header_end(data)
    tensors = {}
    for name, entry in _read_header(data).items():
        start, end = entry["data_offsets"]
        flat = np.frombuffer(data[base + start : base + end], dtype=NUMPY_DTYPES[entry["dtype"]])
        tensors[name] = flat.reshape(entry["shape"])
    return tensors


def _header_end(data: bytes | memoryview) -> int:
    return LENGTH_BYTES + int.from_bytes(data[:LENGTH_BYTES], "little")


def _read_header(data: bytes | memoryview) -> dict[str, Any]:
    end = _header_end(data)
    if len(data) < LENGTH_BYTES or end > len(data) or end > HEADER_BYTES_MAX:
        raise OutputMalformed(f"{len(data)} bytes cannot hold a safetensors header of {end - LENGTH_BYTES} bytes.")
    try:
        header = json.loads(bytes(data[LENGTH_BYTES:end]), object_pairs_hook=_refuse_repeated_names)
    except (ValueError, RecursionError):
        raise OutputMalformed("The safetensors header is not JSON.") from None
    if not isinstance(header, dict):
        raise OutputMalformed("The safetensors header is not a JSON object.")
    return header


def _refuse_repeated_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two readers could each believe another of two entries with one name."""
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise OutputMalformed("The safetensors header repeats a name.")
    return entries


def _check_tensors(data: bytes | memoryview, header: dict[str, Any], specs: Sequence[TensorSpec], rows: int) -> None:
    wanted = {spec.name: spec for spec in specs}
    if header.keys() != wanted.keys():
        raise OutputMalformed(f"The tensors are {sorted(header)}, the contract asks for {sorted(wanted)}.")
    base = _header_end(data)
    spans = []
    for name, spec in wanted.items():
        start, end = _check_entry(name, header[name], spec, rows)
        spans.append((start, end))
        if spec.dtype == "BOOL" and np.frombuffer(data[base + start : base + end], np.uint8).max(initial=0) > 1:
            raise OutputMalformed(f"Tensor {name!r} holds a boolean that is neither 0 nor 1.")
    position = 0
    for start, end in sorted(spans):
        if start != position:
            raise OutputMalformed(f"A tensor starts at byte {start} of the data, expected {position}.")
        position = end
    if base + position != len(data):
        raise OutputMalformed(f"The tensors end at byte {base + position} of {len(data)}.")


def _check_entry(name: str, entry: Any, spec: TensorSpec, rows: int) -> tuple[int, int]:
    """Return the byte span of one tensor after comparing its entry with the contract."""
    shape = [rows, *spec.shape]
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise OutputMalformed(f"The header's entry for {name!r} is not that of a tensor.")
    if entry["dtype"] != spec.dtype or not _is_whole_numbers(entry["shape"]) or entry["shape"] != shape:
        raise OutputMalformed(
            f"Tensor {name!r} is {entry['dtype']} {entry['shape']}, the contract asks for {spec.dtype} {shape}."
        )
    offsets = entry["data_offsets"]
    size = rows * spec.bytes_per_row
    if not _is_whole_numbers(offsets) or offsets != [offsets[0], offsets[0] + size]:
        raise OutputMalformed(f"Tensor {name!r} spans {offsets}, not {size} bytes.")
    return offsets[0], offsets[1]


def _is_whole_numbers(value: Any) -> bool:
    # `type`, as 1.0 and true equal 1 but are not what a strict reader takes.
    return isinstance(value, list) and len(value) > 0 and all(type(item) is int and item >= 0 for item in value)
