"""Datasets as researchers bring them, Parquet and NPZ: what columns there are, and their rows in blocks.

Both formats are read as a stream of blocks, so that memory does not grow with the dataset. Everything that cannot be
read is refused by name of column and number of row, counted from 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from workunits.domain.columns import find_misfits
from workunits.domain.tensors import NUMPY_DTYPES, Tensor
from workunits.domain.types import TensorSpec
from workunits.store.dataset_npz import NpzReader
from workunits.store.dataset_parquet import ParquetReader
from workunits.store.dataset_reader import Block, DatasetReader, DatasetRefused

__all__ = ["Block", "DatasetFacts", "DatasetRefused", "iter_row_blocks", "read_dataset_facts"]

CHECK_BLOCK_BYTES: Final = 8 * 1024 * 1024
# A few kilobytes of compressed file can claim any number of rows; each would be read, cut and stored.
UNPACKED_BYTES_MAX: Final = 256 * 1024**3


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetFacts:
    """What a dataset holds.

    Attributes:
        columns: those that can feed a model: numeric, of one shape in every row, complete.
        unusable: the others, with the reason; they matter only where a model asks for them.
    """

    rows: int
    columns: list[TensorSpec]
    unusable: Mapping[str, str] = field(default_factory=dict)


def read_dataset_facts(path: Path, file_format: str) -> DatasetFacts:
    """Read the whole file once and return what it holds.

    A column with a null, or with lists of different lengths, becomes unusable with the row named. Raises
    DatasetRefused where the file is broken, has no rows, or no column that can be used.
    """
    reader = _reader(path, file_format)
    columns, unusable = list(reader.columns), dict(reader.unusable)
    if reader.rows == 0:
        raise DatasetRefused("The dataset has no rows.")
    while columns:
        bytes_per_row = max(1, sum(column.bytes_per_row for column in columns))
        if reader.rows * bytes_per_row > UNPACKED_BYTES_MAX:
            raise DatasetRefused(f"The dataset is over {UNPACKED_BYTES_MAX} bytes when it is unpacked.")
        try:
            for _ in reader.blocks(columns, max(1, CHECK_BLOCK_BYTES // bytes_per_row)):
                pass
            break
        except DatasetRefused as refusal:
            if refusal.column is None or refusal.row is None:
                raise
            unusable[refusal.column] = refusal.detail
            columns = [column for column in columns if column.name != refusal.column]
    if not columns:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in sorted(unusable.items())[:5])
        raise DatasetRefused(f"No column can feed a model. {reasons}")
    return DatasetFacts(rows=reader.rows, columns=columns, unusable=unusable)


def iter_row_blocks(
    path: Path, file_format: str, columns: Sequence[TensorSpec], rows_per_block: int
) -> Iterator[Block]:
    """Yield the rows in input order as arrays `[rows_per_block, *shape]` of the asked dtypes; the last may be shorter.

    `columns` are a model's inputs: values are converted where nothing is lost but float precision (see
    `domain.columns`). Raises DatasetRefused naming column and row, possibly after some blocks.
    """
    reader = _reader(path, file_format)
    sources = {column.name: column for column in reader.columns}
    for wanted in columns:
        if wanted.name in reader.unusable:
            reason = reader.unusable[wanted.name]
            raise DatasetRefused(f"Column {wanted.name!r} cannot be used: {reason}", column=wanted.name)
    for sentence in find_misfits(reader.columns, columns):
        raise DatasetRefused(sentence)
    row_start = 0
    for block in reader.blocks([sources[wanted.name] for wanted in columns], rows_per_block):
        yield {wanted.name: _convert(block[wanted.name], wanted, row_start) for wanted in columns}
        row_start += len(block[columns[0].name])


def _convert(values: Tensor, wanted: TensorSpec, row_start: int) -> Tensor:
    """Return the values in the wanted dtype and shape; refuse an integer or a float that it cannot hold."""
    dtype = NUMPY_DTYPES[wanted.dtype]
    if values.dtype != dtype:
        with np.errstate(over="ignore"):
            converted = values.astype(dtype)
        is_held = np.isfinite(converted) == np.isfinite(values) if dtype.kind == "f" else converted == values
        lost = np.flatnonzero(~is_held.reshape(len(values), -1).all(axis=1))
        if lost.size:
            row = row_start + int(lost[0])
            detail = f"Column {wanted.name!r}, row {row}: a value does not fit into {wanted.dtype}."
            raise DatasetRefused(detail, column=wanted.name, row=row)
        values = converted
    return values.reshape(len(values), *wanted.shape)


def _reader(path: Path, file_format: str) -> DatasetReader:
    if file_format == "parquet":
        return ParquetReader(path)
    if file_format == "npz":
        return NpzReader(path)
    raise DatasetRefused(f"The format {file_format!r} is not known; use parquet or npz.")
