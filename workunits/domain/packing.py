"""Rows to work units: a shard is its units' safetensors documents, back to back.

All full units of a shard have one header and one layout, so a shard is a matrix with a unit on each line, filled by a
few block copies rather than one serialisation a unit. The bytes equal the safetensors library's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from workunits.domain.tensors import Tensor, document_bytes, make_header, order_tensors
from workunits.domain.types import TensorSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class PackedShard:
    """A shard's bytes, and for each of its units the rows, where its document ends, and the document's SHA-256."""

    data: bytes
    rows: list[int]
    ends: list[int]
    digests: list[bytes]


def pack_shard(block: Mapping[str, Tensor], specs: Sequence[TensorSpec], unit_rows: int) -> PackedShard:
    """Return the rows of `block` (arrays `[n, *shape]` of the specs' dtypes) as units of `unit_rows` rows each.

    The last unit holds what is left over.
    """
    rows_total = len(block[specs[0].name])
    full, rest = divmod(rows_total, unit_rows)
    data = _pack_units(block, specs, 0, full, unit_rows)
    ends = [document_bytes(specs, unit_rows) * (index + 1) for index in range(full)]
    rows = [unit_rows] * full
    if rest:
        data += _pack_units(block, specs, full * unit_rows, 1, rest)
        ends.append(len(data))
        rows.append(rest)
    view = memoryview(data)
    starts = [0, *ends[:-1]]
    digests = [hashlib.sha256(view[start:end]).digest() for start, end in zip(starts, ends, strict=True)]
    return PackedShard(data=data, rows=rows, ends=ends, digests=digests)


def _pack_units(
    block: Mapping[str, Tensor], specs: Sequence[TensorSpec], row_start: int, units: int, unit_rows: int
) -> bytes:
    if units == 0:
        return b""
    header = make_header(tuple(specs), unit_rows)
    lines = np.empty((units, document_bytes(specs, unit_rows)), dtype=np.uint8)
    lines[:, : len(header)] = np.frombuffer(header, dtype=np.uint8)
    start = len(header)
    for spec in order_tensors(specs):
        end = start + unit_rows * spec.bytes_per_row
        rows = np.ascontiguousarray(block[spec.name][row_start : row_start + units * unit_rows])
        if end > start:
            lines[:, start:end] = rows.reshape(units, -1).view(np.uint8)
        start = end
    return lines.tobytes()
