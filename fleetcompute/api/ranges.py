"""Sending a blob: `Range`, `ETag` and `Content-Digest`, streamed in pieces, without reading it into memory."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO, ClassVar

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse

from fleetcompute.api.errors import problem_response
from workunits.domain.errors import FleetError
from workunits.store.blobs import get_blob_store

PIECE_BYTES = 256 * 1024
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


class RangeNotSatisfiable(FleetError):
    """The range lies outside of what there is."""

    code: ClassVar[str] = "range_not_satisfiable"


def parse_range(header: str | None, size_bytes: int) -> tuple[int, int] | None:
    """Return the half-open range that a Range header asks for; None for all of it.

    A header in another unit, with several ranges, or not understood is ignored, as RFC 9110 has it.

    Raises:
        RangeNotSatisfiable: it begins at or after the end.
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        start, end = max(0, size_bytes - int(match[2])), size_bytes
    else:
        start = int(match[1])
        end = min(size_bytes, int(match[2]) + 1) if match[2] else size_bytes
        if match[2] and int(match[2]) < start:
            return None
    if start >= size_bytes or start == end:
        raise RangeNotSatisfiable(f"the range starts at {start}, there are {size_bytes} bytes")
    return start, end


def serve_blob(
    request: HttpRequest,
    sha256: str,
    *,
    content_type: str,
    filename: str | None = None,
    cache_control: str = "private, max-age=31536000, immutable",
) -> HttpResponseBase:
    """Answer GET or HEAD for a blob, whole or in part; 304 where the caller has it. Raises BlobMissing."""
    store = get_blob_store()
    return serve_bytes(
        request,
        sha256,
        size_bytes=store.size(sha256),
        open_range=lambda start, end: store.open(sha256, start, end),
        headers={"Cache-Control": cache_control, **_disposition(filename)},
        content_type=content_type,
    )


def serve_file(
    request: HttpRequest, opened: BinaryIO, sha256: str, *, content_type: str, filename: str
) -> HttpResponseBase:
    """Answer as `serve_blob` does, from a file that may be another one at the next call. It is closed at the end."""

    def open_range(start: int, _end: int) -> BinaryIO:
        opened.seek(start)
        return opened

    headers = {"Cache-Control": "private, no-cache", **_disposition(filename)}
    size_bytes = os.fstat(opened.fileno()).st_size
    return serve_bytes(
        request, sha256, size_bytes=size_bytes, open_range=open_range, headers=headers, content_type=content_type
    )


def serve_bytes(
    request: HttpRequest,
    sha256: str,
    *,
    size_bytes: int,
    open_range: Callable[[int, int], BinaryIO],
    headers: dict[str, str],
    content_type: str,
) -> HttpResponseBase:
    """Answer GET or HEAD for what has this SHA-256, whole or in part; 304 where the caller has it, 416 outside it."""
    digest = f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode('ascii')}:"
    headers = {"ETag": f'"{sha256}"', "Accept-Ranges": "bytes", "Repr-Digest": digest, **headers}
    if f'"{sha256}"' in request.headers.get("If-None-Match", ""):
        return HttpResponse(status=304, headers=headers)
    is_current = request.headers.get("If-Range", f'"{sha256}"') == f'"{sha256}"'
    try:
        part = parse_range(request.headers.get("Range"), size_bytes) if is_current else None
    except RangeNotSatisfiable as error:
        refused = problem_response(error)
        refused["Content-Range"] = f"bytes */{size_bytes}"
        return refused
    start, end = part or (0, size_bytes)
    headers["Content-Length"] = str(end - start)
    if part is None:
        headers["Content-Digest"] = digest
    else:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size_bytes}"
    status = 200 if part is None else 206
    if request.method == "HEAD":
        return HttpResponse(status=status, headers=headers, content_type=content_type)
    pieces = _pieces(open_range(start, end), end - start)
    return StreamingHttpResponse(pieces, status=status, headers=headers, content_type=content_type)


def _disposition(filename: str | None) -> dict[str, str]:
    return {} if filename is None else {"Content-Disposition": f'attachment; filename="{filename}"'}


def _pieces(opened: BinaryIO, left_bytes: int) -> Iterator[bytes]:
    with opened:
        while left_bytes > 0 and (piece := opened.read(min(PIECE_BYTES, left_bytes))):
            left_bytes -= len(piece)
            yield piece
