"""Just enough of safetensors for small float tensors, without numpy: the agent's side of the self-test reads by it."""

from __future__ import annotations

import json
import math
import struct
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HEADER_BYTES = 8


def read_floats(path: Path) -> dict[str, list[list[float]]]:
    """Return the F32 tensors of a file as rows of numbers, each row flat. Raises ValueError on anything else."""
    header, data = _split(path.read_bytes())
    return {name: _rows(entry, data) for name, entry in header.items()}


def repeat_rows(document: bytes, times: int) -> bytes:
    """Return a document whose tensors have all their rows so many times over, in the same order."""
    header, data = _split(document)
    pieces, offset = [], 0
    for entry in header.values():
        start, end = entry["data_offsets"]
        piece = data[start:end] * times
        entry["shape"] = [entry["shape"][0] * times, *entry["shape"][1:]]
        entry["data_offsets"] = [offset, offset + len(piece)]
        offset += len(piece)
        pieces.append(piece)
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % HEADER_BYTES)
    return struct.pack("<Q", len(head)) + head + b"".join(pieces)


def relative_l2(found: Sequence[float], wanted: Sequence[float]) -> float:
    """Return |found - wanted| / |wanted|; infinity where something is not a number."""
    if not all(map(math.isfinite, found)):
        return math.inf
    return math.dist(found, wanted) / max(math.hypot(*wanted), 1e-30)


def _split(document: bytes) -> tuple[dict[str, dict[str, Any]], bytes]:
    (length,) = struct.unpack_from("<Q", document)
    header: dict[str, dict[str, Any]] = json.loads(document[HEADER_BYTES : HEADER_BYTES + length])
    return header, document[HEADER_BYTES + length :]


def _rows(entry: dict[str, Any], data: bytes) -> list[list[float]]:
    if entry["dtype"] != "F32":
        raise ValueError(f"dtype {entry['dtype']} is not read here")
    start, end = entry["data_offsets"]
    numbers = array("f", data[start:end]).tolist()
    width = len(numbers) // entry["shape"][0]
    return [numbers[at : at + width] for at in range(0, len(numbers), width)]
