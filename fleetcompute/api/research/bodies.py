"""Files in request bodies: raw (`application/octet-stream`, options in the query) or multipart, streamed to disk.

A body over its cap is refused by its announced length before a byte is read; every upload must announce one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, ClassVar, Final, NamedTuple, cast

from django.core.files.uploadedfile import UploadedFile
from django.http import QueryDict
from rest_framework.parsers import BaseParser, MultiPartParser
from rest_framework.request import Request

from fleetcompute.api.errors import BodyTooLarge, Malformed
from workunits.domain.errors import FleetError

CHUNK_BYTES: Final = 256 * 1024
FORM_BYTES_MAX: Final = 64 * 1024  # what the fields and boundaries of a multipart body may add to the file
_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/=]+):")


class LengthRequired(FleetError):
    """An upload needs a Content-Length above zero."""

    code: ClassVar[str] = "length_required"


class DigestMismatch(FleetError):
    """The bytes received do not have the SHA-256 that Content-Digest announced."""

    code: ClassVar[str] = "digest_mismatch"
    retryable: ClassVar[bool] = True


class StreamParser(BaseParser):
    """Hands the body to the view unread."""

    media_type = "application/octet-stream"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        """Return the stream."""
        return stream


UPLOAD_PARSERS: Final = [StreamParser, MultiPartParser]


class ReceivedFile(NamedTuple):
    """A file that was sent, on disk until the request ends, and the options that came with it."""

    path: Path
    options: QueryDict


@contextmanager
def received_file(request: Request, *, bytes_max: int) -> Iterator[ReceivedFile]:
    """Stream the request's file to disk. Raises LengthRequired, BodyTooLarge, DigestMismatch or Malformed."""
    length = _announced_length(request)
    is_form = request.content_type.startswith("multipart/")
    if length > bytes_max + (FORM_BYTES_MAX if is_form else 0):
        raise BodyTooLarge(f"The body has {length} bytes; at most {bytes_max} are allowed.")
    with tempfile.NamedTemporaryFile(prefix="fleet-upload-") as file:
        if is_form:
            upload = request.FILES.get("file")
            if not isinstance(upload, UploadedFile):
                raise Malformed("The form has no file field named 'file'.")
            options = request.POST
            _copy(upload.chunks(CHUNK_BYTES), file)
        else:
            options = request.query_params
            received, digest = _copy(_chunks_of(cast(IO[bytes], request.data)), file)
            if received != length:
                raise Malformed(f"The body ended after {received} of {length} bytes.")
            _check_digest(request, digest)
        file.flush()
        yield ReceivedFile(Path(file.name), options)


def _announced_length(request: Request) -> int:
    text = request.META.get("CONTENT_LENGTH") or "0"
    if not text.isdecimal() or int(text) == 0:
        raise LengthRequired
    return int(text)


def _chunks_of(stream: IO[bytes]) -> Iterator[bytes]:
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk


def _copy(chunks: Iterable[bytes], file: IO[bytes]) -> tuple[int, bytes]:
    size, digest = 0, hashlib.sha256()
    for chunk in chunks:
        size += len(chunk)
        digest.update(chunk)
        file.write(chunk)
    return size, digest.digest()


def _check_digest(request: Request, digest: bytes) -> None:
    header = request.headers.get("Content-Digest")
    if header is None:
        return
    match = _DIGEST.search(header)
    try:
        announced = base64.b64decode(match.group(1), validate=True) if match else b""
    except binascii.Error:
        announced = b""
    if len(announced) != hashlib.sha256().digest_size:
        raise Malformed("Content-Digest must be sha-256=:<base64 of the body's SHA-256>:.")
    if announced != digest:
        raise DigestMismatch
