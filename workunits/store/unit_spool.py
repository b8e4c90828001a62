"""A file of unit rows on their way to PostgreSQL, in its binary COPY format.

Shards are written to the blob store before the split's transaction; the rows wait here meanwhile, on the disk once
they are many. All rows have the same length, so numpy lays them out as one block instead of formatting each.
"""

from __future__ import annotations

import tempfile
from types import TracebackType
from typing import Final, Self

import numpy as np
from django.conf import settings

from workunits.domain.packing import PackedShard
from workunits.domain.places import place_units
from workunits.sql import load_sql
from workunits.store.db import cursor

MEMORY_BYTES: Final = 8 * 1024 * 1024
COPY_BYTES: Final = 1024 * 1024
DIGEST_BYTES: Final = 32
_START: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_END: Final = b"\xff\xff"
# In the order of sql/split_copy_units.sql.
_FIELDS: Final = (
    ("batch_id", ">i8"),
    ("number", ">i4"),
    ("shard_number", ">i4"),
    ("row_start", ">i8"),
    ("rows", ">i4"),
    ("byte_start", ">i8"),
    ("byte_end", ">i8"),
    ("input_digest", f"V{DIGEST_BYTES}"),
    ("reward_microcredits", ">i8"),
    ("needed", ">i2"),
    ("place", ">i4"),
)
# Each row is the number of its fields, then for each field its length and its value.
_ROW: Final = np.dtype(
    [("fields", ">i2"), *(item for name, kind in _FIELDS for item in ((f"{name}_bytes", ">i4"), (name, kind)))]
)


class UnitSpool:
    """Collects the unit rows of one batch, shard by shard, and then copies them all."""

    def __init__(self, *, batch_id: int, quorum: int, price_per_row_microcredits: int) -> None:
        self.units = 0
        self.rows = 0
        self._price = price_per_row_microcredits
        self._file = tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES)  # noqa: SIM115  # closed by __exit__
        self._file.write(_START)
        self._template = np.zeros(1, _ROW)
        self._template["fields"] = len(_FIELDS)
        for name, kind in _FIELDS:
            self._template[f"{name}_bytes"] = np.dtype(kind).itemsize
        self._template["batch_id"] = batch_id
        self._template["needed"] = quorum

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def add(self, shard_number: int, shard: PackedShard) -> None:
        """Append a shard's units; they follow those of the shard before."""
        lines = np.repeat(self._template, len(shard.rows))
        rows = np.array(shard.rows, dtype=np.int64)
        ends = np.array(shard.ends, dtype=np.int64)
        lines["number"] = np.arange(self.units, self.units + len(rows))
        lines["place"] = place_units(
            lines["number"].astype(np.int64), batch_id=int(lines["batch_id"][0]), key=settings.FLEET_TOKEN_KEY
        )
        lines["shard_number"] = shard_number
        lines["row_start"] = self.rows + np.cumsum(rows) - rows
        lines["rows"] = rows
        lines["byte_start"] = np.concatenate(([0], ends[:-1]))
        lines["byte_end"] = ends
        lines["input_digest"] = np.frombuffer(b"".join(shard.digests), dtype=f"V{DIGEST_BYTES}")
        lines["reward_microcredits"] = rows * self._price
        self._file.write(lines.tobytes())
        self.units += len(rows)
        self.rows += int(rows.sum())

    def copy(self) -> None:
        """Send all rows, in the caller's transaction. Call it once."""
        self._file.write(_END)
        self._file.seek(0)
        with cursor() as opened:
            opened.copy_expert(load_sql("split_copy_units"), self._file, COPY_BYTES)
