"""Where named objects lie: a folder or an S3 bucket. `blobs` builds content addressing and partial uploads on these.

Names are made by `blobs` from checked keys; nothing here is given a name that a user chose.
"""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
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

    def local_path(self, name: str) -> Any:
        """Return a context manager that gives the object as a local file; raises FileNotFoundError."""


class _Slice(io.RawIOBase):
    """The first `size` bytes of what an open file has left; closes the file with itself."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._left = file, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(min(len(buffer), self._left))
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


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
        return io.BufferedReader(_Slice(file, end - start))

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


class BucketObjects:
    """Objects in an S3 bucket, through django-storages. S3 makes an object visible only when it is complete."""

    def __init__(self, bucket: str, **options: Any) -> None:
        # Only installations that use S3 pay for importing it.
        from botocore.config import Config  # type: ignore[import-untyped]
        from storages.backends.s3 import S3Storage

        # Checksums in trailers, botocore's default, are refused by many S3-compatible stores; ours are SHA-256.
        config = Config(request_checksum_calculation="when_required", response_checksum_validation="when_required")
        self.storage = S3Storage(bucket_name=bucket, client_config=config, file_overwrite=True, **options)
        self.spool_folder = Path(tempfile.gettempdir())

    def adopt(self, path: Path, name: str) -> None:
        """Upload the file, in parts where it is large."""
        self._object(name).upload_file(str(path))

    def add(self, name: str, data: bytes) -> bool:
        """Look, then put: two writers at once may both succeed, and the digest of the whole tells in the end."""
        if self.size(name) is not None:
            return False
        self._object(name).put(Body=data)
        return True

    def open(self, name: str, start: int, end: int) -> BinaryIO:
        """Ask for the range and stream the answer."""
        if start >= end:
            return io.BytesIO()
        with _missing_is_file_not_found(name):
            body = self._object(name).get(Range=f"bytes={start}-{end - 1}")["Body"]
        return io.BufferedReader(_Slice(body, end - start))

    def size(self, name: str) -> int | None:
        """Ask for the object's head."""
        try:
            with _missing_is_file_not_found(name):
                return int(self._object(name).content_length)
        except FileNotFoundError:
            return None

    def delete(self, name: str) -> None:
        """Remove it; S3 says nothing where it was not there."""
        self._object(name).delete()

    def names(self, prefix: str) -> list[str]:
        """List by prefix."""
        key = self._key(prefix) + "/"
        return sorted(item.key.removeprefix(key) for item in self.storage.bucket.objects.filter(Prefix=key))

    @contextmanager
    def local_path(self, name: str) -> Iterator[Path]:
        """Download to a temporary file."""
        with tempfile.NamedTemporaryFile(dir=self.spool_folder) as copy:
            with self.open(name, 0, self.size(name) or 0) as body:
                shutil.copyfileobj(body, copy, COPY_BYTES)
            copy.flush()
            yield Path(copy.name)

    def _key(self, name: str) -> str:
        return f"{self.storage.location.strip('/')}/{name}".lstrip("/")

    def _object(self, name: str) -> Any:
        return self.storage.bucket.Object(self._key(name))


@contextmanager
def _missing_is_file_not_found(name: str) -> Iterator[None]:
    from botocore.exceptions import ClientError  # type: ignore[import-untyped]

    try:
        yield
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == HTTPStatus.NOT_FOUND:
            raise FileNotFoundError(name) from None
        raise


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
