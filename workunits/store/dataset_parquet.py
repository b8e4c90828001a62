"""Parquet datasets: scalars, fixed-size lists, and lists that turn out to have one length, nested to any depth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workunits.domain.tensors import NUMPY_DTYPES, Tensor
from workunits.domain.types import TensorSpec
from workunits.store.dataset_reader import Block, DatasetRefused, explain_name

# Pages are read through a buffer of this size instead of whole column chunks at once.
READ_BUFFER_BYTES: Final = 1024 * 1024
# The unsigned integers that safetensors or our wire lack become the next wider signed ones.
_DTYPES: Final = {
    pa.float64(): "F64", pa.float32(): "F32", pa.float16(): "F16", pa.bool_(): "BOOL",
    pa.int64(): "I64", pa.int32(): "I32", pa.int16(): "I16", pa.int8(): "I8",
    pa.uint8(): "U8", pa.uint16(): "I32", pa.uint32(): "I64",
}  # fmt: skip


class ParquetReader:
    """An opened Parquet file; see `DatasetReader`."""

    def __init__(self, path: Path) -> None:
        with _refusals():
            self._file = pq.ParquetFile(path, buffer_size=READ_BUFFER_BYTES, pre_buffer=False)
            self.rows: int = self._file.metadata.num_rows
            first = next(self._file.iter_batches(batch_size=1), None) if self.rows else None
        self.columns: list[TensorSpec] = []
        self.unusable: dict[str, str] = {}
        names: set[str] = set()
        for index, field in enumerate(self._file.schema_arrow):
            reason = explain_name(field.name, names) or self._describe(field, first and first.column(index))
            if reason:
                self.unusable[field.name] = reason

    def _describe(self, field: pa.Field, first: pa.Array | None) -> str | None:
        """Add the column's spec, with the shape that its first row has, or return why it cannot be used."""
        dtype = _DTYPES.get(_element_type(field.type))
        if dtype is None:
            return f"{field.type} is not a numeric type of fixed shape."
        if first is None:
            return "there are no rows."
        try:
            shape = _to_tensor(first, field.name, 0).shape[1:]
        except DatasetRefused as refusal:
            return refusal.detail
        if 0 in shape:
            return "its lists are empty."
        self.columns.append(TensorSpec(name=field.name, dtype=dtype, shape=shape))
        return None

    def blocks(self, columns: Sequence[TensorSpec], rows_per_block: int) -> Iterator[Block]:
        """Yield the rows; row groups' own boundaries do not show."""
        names = [column.name for column in columns]
        waiting: list[pa.RecordBatch] = []
        count = row_start = 0
        with _refusals():
            for batch in self._file.iter_batches(batch_size=rows_per_block, columns=names, use_threads=False):
                waiting.append(batch)
                count += batch.num_rows
                while count >= rows_per_block:
                    table = pa.Table.from_batches(waiting)
                    yield _to_block(table.slice(0, rows_per_block), columns, row_start)
                    waiting = table.slice(rows_per_block).to_batches()
                    count, row_start = count - rows_per_block, row_start + rows_per_block
            if count:
                yield _to_block(pa.Table.from_batches(waiting), columns, row_start)


def _to_block(table: pa.Table, columns: Sequence[TensorSpec], row_start: int) -> Block:
    block: Block = {}
    for column in columns:
        chunks = [chunk for chunk in table.column(column.name).chunks if len(chunk)]
        starts = row_start + np.cumsum([0, *(len(chunk) for chunk in chunks)])
        tensors = []
        for chunk, start in zip(chunks, starts, strict=False):
            tensor = _to_tensor(chunk, column.name, int(start))
            if tensor.shape[1:] != column.shape:
                raise _refuse(
                    column.name, int(start), f"its shape is {list(tensor.shape[1:])}, not {list(column.shape)}"
                )
            tensors.append(tensor.astype(NUMPY_DTYPES[column.dtype], copy=False))
        block[column.name] = tensors[0] if len(tensors) == 1 else np.concatenate(tensors)
    return block


def _to_tensor(array: pa.Array, name: str, row_start: int) -> Tensor:
    """Return an Arrow array as `[rows, *shape]`; refuse the first row that is null or of another length."""
    rows, shape, per_row = len(array), [], 1
    values = array.storage if isinstance(array, pa.ExtensionArray) else array
    while True:
        if values.null_count:
            index = pc.index(values.is_null(), True).as_py()
            raise _refuse(name, row_start + index // per_row, "it is null" if per_row == 1 else "it holds a null")
        if pa.types.is_fixed_size_list(values.type):
            extent = values.type.list_size
        elif pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
            lengths = pc.list_value_length(values).to_numpy(zero_copy_only=False)
            extent = int(lengths[0]) if len(lengths) else 0
            other = np.flatnonzero(lengths != extent)
            if other.size:
                row = row_start + int(other[0]) // per_row
                raise _refuse(name, row, f"its length is {lengths[other[0]]}, in the rows before it is {extent}")
        else:
            break
        values = values.flatten()
        shape.append(extent)
        per_row *= max(1, extent)
    if isinstance(array.type, pa.FixedShapeTensorType):
        shape = list(array.type.shape)
    return np.asarray(values.to_numpy(zero_copy_only=False)).reshape(rows, *shape)


def _element_type(type_: Any) -> Any:
    """Return the type at the bottom of nested lists; tensors whose axes are permuted have none that we take."""
    if isinstance(type_, pa.FixedShapeTensorType):
        is_permuted = list(type_.permutation or ()) != sorted(type_.permutation or ())
        return None if is_permuted else type_.value_type
    while pa.types.is_fixed_size_list(type_) or pa.types.is_list(type_) or pa.types.is_large_list(type_):
        type_ = type_.value_type
    return type_


def _refuse(name: str, row: int, what: str) -> DatasetRefused:
    return DatasetRefused(f"Column {name!r}, row {row}: {what}.", column=name, row=row)


@contextmanager
def _refusals() -> Iterator[None]:
    """Turn Arrow's many complaints about a broken file into ours."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise DatasetRefused(f"The Parquet file cannot be read: {str(error).splitlines()[0][:200]}") from None
