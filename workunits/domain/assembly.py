"""From units' outputs to rows of a result: each input row exactly once, in order, with its status.

In: segments, one for each unit in input order. Out: blocks of rows as arrays, whatever the units' sizes were.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt

from workunits.domain.errors import FleetError
from workunits.domain.states import BatchOutcome, UnitState
from workunits.domain.tensors import NUMPY_DTYPES, Tensor, read_tensors
from workunits.domain.types import TensorSpec

BLOCK_ROWS_MAX: Final = 65_536
BLOCK_BYTES_MAX: Final = 8 * 1024 * 1024
ROW_COLUMN: Final = "row"
STATUS_COLUMN: Final = "status"
OK_COLUMN: Final = "row_ok"


class RowsNotOnce(FleetError):
    """The units do not cover each input row exactly once."""

    code: ClassVar[str] = "rows_not_once"


class RowStatus(StrEnum):
    """What became of a row."""

    OK = "ok"
    FAILED = "failed"
    CANCELLED = "cancelled"


ROW_STATUS: Final = {
    UnitState.VALIDATED: RowStatus.OK,
    UnitState.ASSEMBLED: RowStatus.OK,
    UnitState.FAILED: RowStatus.FAILED,
    UnitState.CANCELLED: RowStatus.CANCELLED,
}


@dataclass(frozen=True, slots=True)
class Segment:
    """A decided unit's rows. `document` is its canonical output, None where it has none; `mark` tells which that is."""

    row_start: int
    rows: int
    status: RowStatus
    document: bytes | None
    mark: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class ResultBlock:
    """Consecutive rows of a result: numbers, statuses, and for each output an array `[rows, *shape]`.

    Rows whose status is not `ok` hold zeros in `tensors`; `is_ok` masks them.
    """

    row_numbers: npt.NDArray[np.int64]
    statuses: list[RowStatus]
    is_ok: npt.NDArray[np.bool_]
    tensors: dict[str, Tensor]


def name_columns(outputs: Sequence[TensorSpec]) -> dict[str, str]:
    """Return the result's column for each output: its own name, followed by `_` where that is taken."""
    taken = {ROW_COLUMN, STATUS_COLUMN, OK_COLUMN, *(spec.name for spec in outputs)}
    columns = {}
    for spec in outputs:
        column = spec.name
        if column in (ROW_COLUMN, STATUS_COLUMN, OK_COLUMN):
            while column in taken:
                column += "_"
        taken.add(column)
        columns[spec.name] = column
    return columns


def choose_outcome(rows_total: int, rows_ok: int) -> BatchOutcome:
    """Return what a batch delivered."""
    if rows_ok == rows_total:
        return BatchOutcome.FULL
    return BatchOutcome.PARTIAL if rows_ok else BatchOutcome.NONE


def check_rows(segments: Iterable[Segment], rows_total: int) -> Iterator[Segment]:
    """Pass the segments on; raise RowsNotOnce where one does not follow the last, or rows are missing at the end."""
    position = 0
    for segment in segments:
        if segment.row_start != position:
            raise RowsNotOnce(f"A unit starts at row {segment.row_start}, expected {position}.")
        position += segment.rows
        yield segment
    if position != rows_total:
        raise RowsNotOnce(f"The units end at row {position} of {rows_total}.")


def gather_blocks(segments: Iterable[Segment], outputs: Sequence[TensorSpec]) -> Iterator[ResultBlock]:
    """Yield the segments' rows in blocks of up to `BLOCK_ROWS_MAX` rows or about `BLOCK_BYTES_MAX` bytes."""
    bytes_per_row = max(1, sum(spec.bytes_per_row for spec in outputs))
    rows_enough = max(1, min(BLOCK_ROWS_MAX, BLOCK_BYTES_MAX // bytes_per_row))
    waiting: list[Segment] = []
    rows = 0
    for segment in segments:
        if waiting and rows + segment.rows > rows_enough:
            yield _to_block(waiting, rows, outputs)
            waiting, rows = [], 0
        waiting.append(segment)
        rows += segment.rows
    if waiting:
        yield _to_block(waiting, rows, outputs)


def _to_block(segments: Sequence[Segment], rows: int, outputs: Sequence[TensorSpec]) -> ResultBlock:
    tensors = {spec.name: np.zeros((rows, *spec.shape), NUMPY_DTYPES[spec.dtype]) for spec in outputs}
    row_numbers = np.empty(rows, np.int64)
    statuses: list[RowStatus] = []
    start = 0
    for segment in segments:
        end = start + segment.rows
        row_numbers[start:end] = np.arange(segment.row_start, segment.row_start + segment.rows)
        statuses += [segment.status] * segment.rows
        if segment.document is not None:
            for name, values in read_tensors(segment.document).items():
                tensors[name][start:end] = values
        start = end
    is_ok = np.array([status is RowStatus.OK for status in statuses])
    return ResultBlock(row_numbers=row_numbers, statuses=statuses, is_ok=is_ok, tensors=tensors)
