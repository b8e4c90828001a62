"""Rows to work units: a shard is its units' safetensors documents, back to back.

All full units of a shard have one header and one layout, so a shard is a matrix with a unit on each line, filled by a
few block copies rather than one serialisation a unit. The bytes equal the safetensors library's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workunits.domain.tensors import Tensor, document_bytes, make_header, order_tensors
from workunits.domain.types import TensorSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class PackedShard:
    """A shard's bytes, and for each of its units the rows, where its document ends, and the document's SHA-256."""

    data: memoryview
    rows: list[int]
    ends: list[int]
    digests: list[bytes]


def pack_shard(block: Mapping[str, Tensor], specs: Sequence[TensorSpec], unit_rows: int) -> PackedShard:
    """Return the rows of `block` (arrays `[n, *shape]` of the specs' dtypes) as units of `unit_rows` rows each.

    The last unit holds what is left over.
    """
    full, rest = divmod(len(block[specs[0].name]), unit_rows)
    rows = [unit_rows] * full + [rest] * (rest > 0)
    unit_bytes = document_bytes(specs, unit_rows)
    ends = [unit_bytes * (index + 1) for index in range(full)]
    if rest:
        ends.append(unit_bytes * full + document_bytes(specs, rest))
    data = np.empty(ends[-1], dtype=np.uint8)
    _fill_units(data[: unit_bytes * full], block, specs, 0, unit_rows)
    _fill_units(data[unit_bytes * full :], block, specs, unit_rows * full, rest)
    view = data.data
    starts = [0, *ends[:-1]]
    digests = [hashlib.sha256(view[start:end]).digest() for start, end in zip(starts, ends, strict=True)]
    return PackedShard(data=view, rows=rows, ends=ends, digests=digests)


def _fill_units(
    data: npt.NDArray[np.uint8],
    block: Mapping[str, Tensor],
    specs: Sequence[TensorSpec],
    row_start: int,
    unit_rows: int,
) -> None:
    """Write as many units of `unit_rows` rows as fill `data`, taking rows from `row_start` on."""
    if not len(data):
        return
    header = make_header(tuple(specs), unit_rows)
    lines = data.reshape(-1, document_bytes(specs, unit_rows))
    lines[:, : len(header)] = np.frombuffer(header, dtype=np.uint8)
    start = len(header)
    for spec in order_tensors(specs):
        end = start + unit_rows * spec.bytes_per_row
        rows = np.ascontiguousarray(block[spec.name][row_start : row_start + len(lines) * unit_rows])
        if end > start:
            lines[:, start:end] = rows.reshape(len(lines), -1).view(np.uint8)
        start = end
