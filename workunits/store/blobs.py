"""The blob store: bytes named by their SHA-256, in a folder or an S3 bucket (`BLOB_STORE_URL`), and partial uploads.

A blob is written whole or not at all and never changes, so writing it twice is harmless. The store knows nothing of
transactions: write the blob first, then its row (`record_blob`) with whatever refers to it. A blob without a row is
only wasted space.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, ClassVar
from urllib.parse import parse_qsl, unquote, urlsplit

from django.conf import settings

from workunits.domain.errors import FleetError
from workunits.models import Blob
from workunits.store.objects import COPY_BYTES, ObjectStore
from workunits.store.objects_bucket import BucketObjects
from workunits.store.objects_folder import FolderObjects

_SHA256 = re.compile(r"[0-9a-f]{64}")
_UPLOAD_KEY = re.compile(r"[A-Za-z0-9_-]{1,80}")
_OFFSET_DIGITS = 15


class BlobMissing(FleetError):
    """There is no blob with this name."""

    code: ClassVar[str] = "blob_missing"


class BlobTooLarge(FleetError):
    """There are more bytes than allowed."""

    code: ClassVar[str] = "body_too_large"


class BlobDigestMismatch(FleetError):
    """The bytes do not have the announced SHA-256."""

    code: ClassVar[str] = "blob_digest_mismatch"


class UploadOffsetConflict(FleetError):
    """The part does not begin where the stored ones end."""

    code: ClassVar[str] = "upload_offset_conflict"


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A blob that is in the store."""

    sha256: str
    size_bytes: int


class BlobStore:
    """Content addressing over an object store. Names that are not 64 lower-case hex digits are simply missing."""

    def __init__(self, objects: ObjectStore) -> None:
        self.objects = objects

    def put_stream(
        self,
        source: BinaryIO | Iterable[bytes | memoryview],
        *,
        size_bytes_max: int | None = None,
        expect_sha256: str | None = None,
    ) -> StoredBlob:
        """Store what `source` gives, hashing it on the way; memory stays flat.

        Raises BlobTooLarge as soon as there are more than `size_bytes_max` bytes, BlobDigestMismatch at the end;
        nothing is kept then.
        """
        digest, size = hashlib.sha256(), 0
        with _spool(self.objects.spool_folder) as (file, path):
            for chunk in _chunks(source):
                size += len(chunk)
                if size_bytes_max is not None and size > size_bytes_max:
                    raise BlobTooLarge(f"There are more than {size_bytes_max} bytes.")
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            sha256 = digest.hexdigest()
            if expect_sha256 is not None and sha256 != expect_sha256:
                raise BlobDigestMismatch(f"The bytes have SHA-256 {sha256}, announced was {expect_sha256}.")
            name = _blob_name(sha256)
            if self.objects.size(name) != size:
                self.objects.adopt(path, name)
        return StoredBlob(sha256, size)

    def put_file(self, path: Path) -> StoredBlob:
        """Store a copy of a local file."""
        with path.open("rb") as file:
            return self.put_stream(file)

    def put_bytes(self, data: bytes | memoryview) -> StoredBlob:
        """Store bytes that are in memory."""
        return self.put_stream([data])

    def open(self, sha256: str, start: int = 0, end: int | None = None) -> BinaryIO:
        """Open bytes `[start, end)` of a blob; an end beyond the blob's is cut. Raises BlobMissing."""
        size = self.size(sha256)
        stop = size if end is None else min(end, size)
        try:
            return self.objects.open(_blob_name(sha256), start, max(start, stop))
        except FileNotFoundError:
            raise BlobMissing(f"There is no blob {sha256}.") from None

    def read(self, sha256: str, start: int = 0, end: int | None = None) -> bytes:
        """Return bytes `[start, end)` of a blob. Raises BlobMissing."""
        with self.open(sha256, start, end) as file:
            return file.read()

    def size(self, sha256: str) -> int:
        """Return a blob's size in bytes. Raises BlobMissing."""
        size = self.objects.size(_blob_name(sha256)) if _SHA256.fullmatch(sha256) else None
        if size is None:
            raise BlobMissing(f"There is no blob {sha256}.")
        return size

    def exists(self, sha256: str) -> bool:
        """Return whether the blob is here."""
        return bool(_SHA256.fullmatch(sha256)) and self.objects.size(_blob_name(sha256)) is not None

    def delete(self, sha256: str) -> None:
        """Remove a blob, if it is here. Its row and everything that names it must be gone before."""
        if _SHA256.fullmatch(sha256):
            self.objects.delete(_blob_name(sha256))

    @contextmanager
    def local_path(self, sha256: str) -> Iterator[Path]:
        """Give a blob as a local file, for reading only. Raises BlobMissing."""
        self.size(sha256)
        with self.objects.local_path(_blob_name(sha256)) as path:
            yield path

    def parts_offset(self, upload_key: str) -> int:
        """Return how many bytes of a partial upload are stored; `append_part` leaves no gap before them."""
        parts = self._parts(upload_key)
        if not parts:
            return 0
        start, name = parts[-1]
        return start + (self.objects.size(name) or 0)

    def append_part(self, upload_key: str, offset: int, data: bytes) -> int:
        """Store the next part of an upload and return the new offset.

        Each part is an object of its own, named by its offset, so that object stores without appending serve too.
        Raises UploadOffsetConflict unless `offset` is where the stored parts end; of two writers at once one wins.
        """
        stored = self.parts_offset(upload_key)
        if offset != stored:
            raise UploadOffsetConflict(f"The part starts at {offset}, {stored} bytes are stored.", offset=stored)
        if data and not self.objects.add(f"{_parts_folder(upload_key)}/{offset:0{_OFFSET_DIGITS}d}", data):
            raise UploadOffsetConflict(f"Another part was stored at {offset} meanwhile.", offset=offset)
        return offset + len(data)

    def finish_parts(self, upload_key: str, size: int, expect_sha256: str) -> StoredBlob:
        """Join the parts of an upload to a blob and drop them.

        Raises UploadOffsetConflict where they are not `size` bytes, BlobDigestMismatch where they are other bytes; the
        parts stay then. Safe to repeat: once the blob is here, parts are not needed.
        """
        parts = self._parts(upload_key)
        if not parts and self.exists(expect_sha256) and self.size(expect_sha256) == size:
            return StoredBlob(expect_sha256, size)
        stored = self.parts_offset(upload_key)
        if stored != size:
            raise UploadOffsetConflict(f"{stored} of {size} bytes are stored.", offset=stored)
        blob = self.put_stream(self._stream_parts(upload_key), expect_sha256=expect_sha256)
        self.drop_parts(upload_key)
        return blob

    def read_parts(self, upload_key: str) -> bytes:
        """Return what is stored of an upload, for uploads that are small enough to be looked at in memory."""
        return b"".join(self._stream_parts(upload_key))

    def drop_parts(self, upload_key: str) -> None:
        """Forget a partial upload."""
        folder = _parts_folder(upload_key)
        for name in self.objects.names(folder):
            self.objects.delete(f"{folder}/{name}")

    def _parts(self, upload_key: str) -> list[tuple[int, str]]:
        folder = _parts_folder(upload_key)
        return [(int(name), f"{folder}/{name}") for name in self.objects.names(folder)]

    def _stream_parts(self, upload_key: str) -> Iterator[bytes | memoryview]:
        for _, name in self._parts(upload_key):
            with self.objects.open(name, 0, self.objects.size(name) or 0) as file:
                yield from _chunks(file)


def record_blob(stored: StoredBlob, now: datetime) -> None:
    """Write a blob's row, in the caller's transaction; nothing happens where it is there already."""
    record_blobs([stored], now)


def record_blobs(stored: Iterable[StoredBlob], now: datetime) -> None:
    """Write the rows of many blobs, in order of their names so that two writers cannot lock each other out."""
    rows = {blob.sha256: Blob(sha256=blob.sha256, size_bytes=blob.size_bytes, created_at=now) for blob in stored}
    Blob.objects.bulk_create([rows[sha256] for sha256 in sorted(rows)], ignore_conflicts=True)


def get_blob_store() -> BlobStore:
    """Return the store that `settings.BLOB_STORE_URL` names."""
    return _open_store(settings.BLOB_STORE_URL)


@lru_cache(maxsize=8)
def _open_store(url: str) -> BlobStore:
    """Open `file:///folder`, or `s3://bucket/prefix?endpoint_url=…` (the query is django-storages' options)."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return BlobStore(FolderObjects(Path(unquote(parts.path))))
    return BlobStore(BucketObjects(parts.netloc, location=parts.path.strip("/"), **dict(parse_qsl(parts.query))))


@contextmanager
def _spool(folder: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """Give a new file that is removed at the end, unless it was moved away."""
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        path = Path(file.name)
        try:
            yield file, path  # type: ignore[misc]  # the wrapper has all that BinaryIO asks for
        finally:
            path.unlink(missing_ok=True)


def _chunks(source: BinaryIO | Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """Give the bytes of a file or of an iterable, in pieces."""
    read = getattr(source, "read", None)
    if read is None:
        yield from source
        return
    while chunk := read(COPY_BYTES):
        yield chunk


def _blob_name(sha256: str) -> str:
    """Return the object of a blob, two folders down: a folder with millions of files is slow on many file systems."""
    if not _SHA256.fullmatch(sha256):
        raise BlobMissing("That is not the name of a blob.")
    return f"blobs/{sha256[:2]}/{sha256[2:4]}/{sha256}"


def _parts_folder(upload_key: str) -> str:
    if not _UPLOAD_KEY.fullmatch(upload_key):
        raise ValueError(f"{upload_key!r} cannot name an upload")
    return f"parts/{upload_key}"
