"""Ids and small value types that travel between the stages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, NewType

BatchId = NewType("BatchId", int)
OwnerId = NewType("OwnerId", int)
VehicleId = NewType("VehicleId", int)
UnitNumber = NewType("UnitNumber", int)
Sha256Hex = NewType("Sha256Hex", str)
Microcredits = NewType("Microcredits", int)


class UnitKey(NamedTuple):
    """A work unit: the batch it belongs to and its number there, from 0 in input order."""

    batch_id: int
    unit_number: int


class ReplicaKey(NamedTuple):
    """A replica. An owner holds at most one replica of a unit, so unit and owner name it."""

    batch_id: int
    unit_number: int
    owner_id: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorSpec:
    """One input or output of a model, for one row.

    Attributes:
        name: the graph's name for it.
        dtype: a safetensors dtype name (`F32 F64 F16 I64 I32 I16 I8 U8 BOOL`).
        shape: the shape of one row, without the leading row dimension; `()` for a scalar.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes_per_row(self) -> int:
        """Bytes of one row, densely packed."""
        count = 1
        for extent in self.shape:
            count *= extent
        return count * DTYPE_BYTES[self.dtype]


DTYPE_BYTES: dict[str, int] = {
    "F64": 8, "F32": 4, "F16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
