"""Objects in an S3 bucket, or in anything that speaks S3."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO

from workunits.store.objects import COPY_BYTES, Slice


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
        return io.BufferedReader(Slice(body, end - start))

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
