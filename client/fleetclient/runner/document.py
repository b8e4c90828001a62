"""The output document of a unit, laid out before its rows are known: safetensors, byte for byte as its library does.

The layout lets finished blocks be put together piece by piece, without holding an output in memory twice.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass

from fleetclient.wire import TensorSpec
from fleetclient.wire.contract import DTYPE_BYTES

# safetensors puts the widest first, so that all data is aligned; among the same type, names in order.
_ORDER = ("I64", "F64", "F32", "I32", "F16", "I16", "I8", "U8", "BOOL")
_ALIGNMENT = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Where everything is.

    Attributes:
        head: the document's first bytes: the length of its table, and its table.
        order: indices of the contract's outputs in the order of their data.
        row_bytes: bytes of one row of each output, in the contract's order.
        document_bytes: the size of the whole.
    """

    head: bytes
    order: tuple[int, ...]
    row_bytes: tuple[int, ...]
    document_bytes: int


def lay_out(specs: tuple[TensorSpec, ...], rows: int) -> Layout:
    """Return the layout of a document with these outputs of so many rows."""
    order = sorted(range(len(specs)), key=lambda index: (_ORDER.index(specs[index].dtype), specs[index].name))
    row_bytes = tuple(math.prod(spec.shape) * DTYPE_BYTES[spec.dtype] for spec in specs)
    table, at = {}, 0
    for index in order:
        spec, end = specs[index], at + rows * row_bytes[index]
        table[spec.name] = {"dtype": spec.dtype, "shape": [rows, *spec.shape], "data_offsets": [at, end]}
        at = end
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    head = struct.pack("<Q", len(text)) + text
    return Layout(head=head, order=tuple(order), row_bytes=row_bytes, document_bytes=len(head) + at)
