"""Where named objects lie, a folder or an S3 bucket; `blobs` builds content addressing and partial uploads on these.

Names are made by `blobs` from checked keys; nothing here is given a name that a user chose.
"""

from __future__ import annotations

import io
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

COPY_BYTES = 1024 * 1024


class ObjectStore(Protocol):
    """What a place for objects can do. An object appears whole or not at all, and is never changed."""

    spool_folder: Path

    def adopt(self, path: Path, name: str) -> None:
        """Make the finished file `path` the object `name`; the file may be moved. Replaces an equal object."""

    def add(self, name: str, data: bytes) -> bool:
        """Create the small object `name`; False where it exists already."""

    def open(self, name: str, start: int, end: int) -> BinaryIO:
        """Open bytes `[start, end)` for reading; raises FileNotFoundError."""

    def size(self, name: str) -> int | None:
        """Return the object's size, or None where there is none."""

    def delete(self, name: str) -> None:
        """Remove the object, if it is there."""

    def names(self, prefix: str) -> list[str]:
        """Return the names below a prefix (without it), sorted."""

    def local_path(self, name: str) -> AbstractContextManager[Path]:
        """Give the object as a local file, for reading only; raises FileNotFoundError."""


class Slice(io.RawIOBase):
    """The first `size` bytes of what an open file has left; closes the file with itself."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._left = file, size

    def readable(self) -> bool:
        """Say yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as the file and the slice go."""
        data = self._file.read(min(len(buffer), self._left))
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)

    def close(self) -> None:
        """Close the file too."""
        self._file.close()
        super().close()
