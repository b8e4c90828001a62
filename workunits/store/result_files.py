"""Writers of result files: one Parquet, one NPZ. Both take blocks in order and keep memory flat.

The same rows give the same bytes (no time of writing in them), so a result that is written again has the same name.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Protocol, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from workunits.domain.assembly import OK_COLUMN, ROW_COLUMN, STATUS_COLUMN, ResultBlock, name_columns
from workunits.domain.tensors import NUMPY_DTYPES, Tensor
from workunits.domain.types import TensorSpec

ZIP_DATE: Final = (1980, 1, 1, 0, 0, 0)
COPY_BYTES: Final = 1024 * 1024


class ResultWriter(Protocol):
    """Context manager: the file is complete when the block ends without an error."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...

    def add(self, block: ResultBlock) -> None:
        """Append rows."""


class ParquetResult:
    """`row`, `status`, then the outputs as scalars or fixed-size lists; null where a row has no result."""

    def __init__(self, path: Path, outputs: Sequence[TensorSpec]) -> None:
        self._columns = {column: spec for spec, column in zip(outputs, name_columns(outputs).values(), strict=True)}
        fields = [
            pa.field(ROW_COLUMN, pa.int64(), nullable=False),
            pa.field(STATUS_COLUMN, pa.string(), nullable=False),
        ]
        fields += [pa.field(column, _arrow_type(spec)) for column, spec in self._columns.items()]
        self._schema = pa.schema(fields)
        # Only the status repeats often enough for a dictionary.
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd", use_dictionary=[STATUS_COLUMN])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._writer.close()

    def add(self, block: ResultBlock) -> None:
        """Write one row group."""
        arrays = [pa.array(block.row_numbers), pa.array([str(status) for status in block.statuses])]
        mask = pa.array(~block.is_ok)
        arrays += [_to_arrow(block.tensors[spec.name], mask) for spec in self._columns.values()]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))


class NpzResult:
    """`row`, `row_ok`, then the outputs as arrays; NaN or zero where a row has no result. Uncompressed.

    The arrays grow side by side in files of their own; a zip can only be written one array after the other.
    """

    def __init__(self, path: Path, outputs: Sequence[TensorSpec]) -> None:
        self._path = path
        self._stack = ExitStack()
        self._outputs = {column: spec for spec, column in zip(outputs, name_columns(outputs).values(), strict=True)}
        self._shapes: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {
            ROW_COLUMN: (np.dtype("<i8"), ()),
            OK_COLUMN: (np.dtype("?"), ()),
            **{column: (NUMPY_DTYPES[spec.dtype], spec.shape) for column, spec in self._outputs.items()},
        }
        self._files: dict[str, IO[bytes]] = {
            column: self._stack.enter_context(tempfile.TemporaryFile(dir=path.parent))  # noqa: SIM115  # as it says
            for column in self._shapes
        }
        self._rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._stack:
            if error is None:
                self._write_zip()

    def add(self, block: ResultBlock) -> None:
        """Append to each array."""
        self._files[ROW_COLUMN].write(block.row_numbers.tobytes())
        self._files[OK_COLUMN].write(block.is_ok.tobytes())
        for column, spec in self._outputs.items():
            values = block.tensors[spec.name]
            if values.dtype.kind == "f" and not block.is_ok.all():
                values = values.copy()
                values[~block.is_ok] = np.nan
            self._files[column].write(values.tobytes())
        self._rows += len(block.row_numbers)

    def _write_zip(self) -> None:
        with zipfile.ZipFile(self._path, "w", zipfile.ZIP_STORED) as archive:
            for column, (dtype, shape) in self._shapes.items():
                header = {"descr": dtype.str, "fortran_order": False, "shape": (self._rows, *shape)}
                with archive.open(zipfile.ZipInfo(f"{column}.npy", ZIP_DATE), "w", force_zip64=True) as member:
                    np.lib.format.write_array_header_1_0(member, header)
                    self._files[column].seek(0)
                    shutil.copyfileobj(self._files[column], member, COPY_BYTES)


def open_result(file_format: str, path: Path, outputs: Sequence[TensorSpec]) -> ResultWriter:
    """Return the writer of `parquet` or `npz`."""
    writers: dict[str, type[ParquetResult | NpzResult]] = {"parquet": ParquetResult, "npz": NpzResult}
    return writers[file_format](path, outputs)


def _arrow_type(spec: TensorSpec) -> Any:
    type_ = pa.from_numpy_dtype(NUMPY_DTYPES[spec.dtype])
    for extent in reversed(spec.shape):
        type_ = pa.list_(type_, extent)
    return type_


def _to_arrow(values: Tensor, mask: Any) -> Any:
    """Return `[rows, *shape]` as nested fixed-size lists, null where `mask` is true."""
    if values.ndim == 1:
        return pa.array(values, mask=mask.to_numpy(zero_copy_only=False))
    array = pa.array(values.reshape(-1))
    for extent in reversed(values.shape[2:]):
        array = pa.FixedSizeListArray.from_arrays(array, extent)
    return pa.FixedSizeListArray.from_arrays(array, values.shape[1], mask=mask)
