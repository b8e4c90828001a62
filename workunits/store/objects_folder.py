"""Objects as files below one folder."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from workunits.store.objects import Slice


class FolderObjects:
    """Objects as files. New ones are written aside, flushed to the disk and renamed, so a crash leaves no half file."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.spool_folder = root / "spool"
        self.spool_folder.mkdir(parents=True, exist_ok=True)

    def adopt(self, path: Path, name: str) -> None:
        """Move the file: it has to lie in `spool_folder`, on the same file system."""
        target = self.root / name
        _flush(path)
        _in_folder(target.parent, lambda: path.replace(target))

    def add(self, name: str, data: bytes) -> bool:
        """Create by hard link, which fails where the name exists: of two writers at once, one wins."""
        target = self.root / name
        with tempfile.NamedTemporaryFile(dir=self.spool_folder) as draft:
            draft.write(data)
            draft.flush()
            os.fsync(draft.fileno())
            try:
                _in_folder(target.parent, lambda: os.link(draft.name, target))
            except FileExistsError:
                return False
        return True

    def open(self, name: str, start: int, end: int) -> BinaryIO:
        """Open the file at `start`."""
        file = (self.root / name).open("rb")
        file.seek(start)
        return io.BufferedReader(Slice(file, end - start))

    def size(self, name: str) -> int | None:
        """Ask the file system."""
        try:
            return (self.root / name).stat().st_size
        except FileNotFoundError:
            return None

    def delete(self, name: str) -> None:
        """Unlink the file, and its folder once that is empty: an upload's folder would stay for ever otherwise."""
        path = self.root / name
        path.unlink(missing_ok=True)
        with suppress(OSError):
            path.parent.rmdir()

    def names(self, prefix: str) -> list[str]:
        """List one folder."""
        folder = self.root / prefix
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []

    @contextmanager
    def local_path(self, name: str) -> Iterator[Path]:
        """Give the file itself: it must not be written to."""
        path = self.root / name
        if not path.is_file():
            raise FileNotFoundError(name)
        yield path


def _in_folder(folder: Path, act: Callable[[], object]) -> None:
    """Make the folder, do something in it, flush it. Again where a `delete` removed the empty folder in between."""
    for is_last in (False, False, True):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            act()
            break
        except FileNotFoundError:
            if is_last:
                raise
    _flush(folder)


def _flush(path: Path) -> None:
    """Wait until a file's bytes, or a folder's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
