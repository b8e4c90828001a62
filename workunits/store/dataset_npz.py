"""NPZ datasets: a zip of `.npy` arrays, one a column, read side by side as streams. Pickles are never opened."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from workunits.domain.tensors import NUMPY_DTYPES, Tensor
from workunits.domain.types import TensorSpec
from workunits.store.dataset_reader import Block, DatasetRefused, explain_name

_HEADER_READERS: Final = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_NAMES: Final = {dtype: name for name, dtype in NUMPY_DTYPES.items()}
_WIDENED: Final = {np.dtype("u2"): "I32", np.dtype("u4"): "I64"}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Member:
    """An array inside the zip, as its header describes it."""

    file_name: str
    header_bytes: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    is_fortran: bool


class NpzReader:
    """An opened NPZ file; see `DatasetReader`."""

    def __init__(self, path: Path) -> None:
        self.columns: list[TensorSpec] = []
        self.unusable: dict[str, str] = {}
        self._members: dict[str, _Member] = {}
        names: set[str] = set()
        with _refusals():
            self._zip = zipfile.ZipFile(path)
            for info in self._zip.infolist():
                name = info.filename.removesuffix(".npy")
                reason = explain_name(name, names) or self._describe(name, info)
                if reason:
                    self.unusable[name] = reason
        counts = {name: member.shape[0] for name, member in self._members.items()}
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
            raise DatasetRefused(f"The arrays differ in their number of rows: {listed}.")
        self.rows = next(iter(counts.values()), 0)

    def _describe(self, name: str, info: zipfile.ZipInfo) -> str | None:
        """Add an array's spec, or return why it cannot be used."""
        if not info.filename.endswith(".npy"):
            return "it is not an array."
        with self._zip.open(info) as file:
            read_header = _HEADER_READERS.get(np.lib.format.read_magic(file))
            if read_header is None:
                return "its NPY version is not known."
            shape, is_fortran, dtype = read_header(file)
            header_bytes = file.tell()
        native = dtype.newbyteorder("=")
        dtype_name = _NAMES.get(native) or _WIDENED.get(native)
        if dtype_name is None:
            return "it holds Python objects." if dtype.hasobject else f"{dtype} is not a numeric type we take."
        if not shape or 0 in shape[1:]:
            return f"its shape is {shape}: there are no rows to take."
        if info.file_size != header_bytes + dtype.itemsize * int(np.prod(shape, dtype=object)):
            raise DatasetRefused(f"Column {name!r}: the array is not as long as its header says.", column=name)
        self.columns.append(TensorSpec(name=name, dtype=dtype_name, shape=tuple(shape[1:])))
        self._members[name] = _Member(
            file_name=info.filename, header_bytes=header_bytes, dtype=dtype, shape=shape, is_fortran=is_fortran
        )
        return None

    def blocks(self, columns: Sequence[TensorSpec], rows_per_block: int) -> Iterator[Block]:
        """Yield the rows. The zip's checksums are verified as the end of each array is reached."""
        with ExitStack() as stack, _refusals():
            take = {column.name: self._open_rows(stack, self._members[column.name]) for column in columns}
            for start in range(0, self.rows, rows_per_block):
                count = min(rows_per_block, self.rows - start)
                yield {
                    column.name: take[column.name](start, count).astype(NUMPY_DTYPES[column.dtype], copy=False)
                    for column in columns
                }

    def _open_rows(self, stack: ExitStack, member: _Member) -> Callable[[int, int], Tensor]:
        """Return a function of (first row, number of rows) that gives rows, if they are asked for in order."""
        file = stack.enter_context(self._zip.open(member.file_name))
        shape = member.shape[1:]
        if member.is_fortran and shape:
            # Its rows are not contiguous: the array is put on the disk and mapped.
            copy = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  # the stack closes it
            shutil.copyfileobj(file, copy)
            mapped = np.memmap(copy, member.dtype, "r", member.header_bytes, member.shape, "F")
            return lambda start, count: np.ascontiguousarray(mapped[start : start + count])
        file.read(member.header_bytes)
        row_bytes = member.dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        return lambda _, count: _read_rows(file, count * row_bytes, member.dtype).reshape(count, *shape)


def _read_rows(file: IO[bytes], size: int, dtype: np.dtype[Any]) -> Tensor:
    data = file.read(size)
    if len(data) != size:
        raise EOFError("an array ends early")
    return np.frombuffer(data, dtype)


@contextmanager
def _refusals() -> Iterator[None]:
    """Turn the complaints of zip and NPY readers about a broken file into ours."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError) as error:
        # RuntimeError: encrypted; its subclass NotImplementedError: an unknown compression.
        raise DatasetRefused(f"The NPZ file cannot be read: {str(error)[:200]}") from None
