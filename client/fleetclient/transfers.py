"""Moving the files of a unit: its model and its input to this car, its output to the server.

Runs on the network threads. Everything resumes: a model from its partial file, an output from the server's offset.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Collection, Mapping
from typing import ClassVar

from fleetclient.cache import DigestMismatch, ModelCache
from fleetclient.failpoints import fail_point
from fleetclient.files import write_durably
from fleetclient.network import Network, ServerRefused, Unreachable
from fleetclient.spool import Spool
from fleetclient.units import Unit
from fleetclient.wire import BLOBS_PATH, OUTPUTS_PATH, Lease, ModelRef

UPLOAD_CHUNK_BYTES = 1024 * 1024
CHECKSUM_MISMATCH_STATUS = 460
OFFSET_CONFLICTS_MAX = 5


class InputDigestMismatch(DigestMismatch):
    """The input that arrived has another SHA-256 than the lease says."""

    code: ClassVar[str] = "input_digest_mismatch"


def fetch_model(model: ModelRef, *, network: Network, cache: ModelCache, in_use: Collection[str]) -> None:
    """Bring a model into the cache unless it is there. Raises CacheFull, DigestMismatch, and the network's errors."""
    if cache.has(model.sha256):
        return
    start = cache.partial_bytes(model.sha256)
    cache.make_room(model.bytes, in_use=in_use, here_bytes=start)
    if start > model.bytes:
        os.truncate(cache.partial_path(model.sha256), 0)
        start = 0
    if start < model.bytes:
        with cache.partial_path(model.sha256).open("ab") as file:
            fail_point("download_started")

            def write(offset: int, piece: bytes) -> None:
                if offset != file.tell():
                    file.truncate(offset)
                    file.seek(offset)
                file.write(piece)
                file.flush()
                fail_point("download_chunk_written")

            network.download(BLOBS_PATH + model.sha256, start=start, end=model.bytes, write=write)
    fail_point("download_complete")
    cache.admit(model.sha256)
    fail_point("model_admitted")


def fetch_input(lease: Lease, *, network: Network, spool: Spool) -> None:
    """Bring the input rows of a lease here, checked against its digest. Raises DigestMismatch and network errors."""
    if spool.has_input(lease.token):
        return
    start, end = lease.input_range
    content = bytearray()

    def write(offset: int, piece: bytes) -> None:
        # A server that ignores Range begins at 0.
        content.extend(piece[max(0, start - offset) :])

    network.download(BLOBS_PATH + lease.input_sha256, start=start, end=end, write=write)
    if hashlib.sha256(content).hexdigest() != lease.input_digest:
        raise InputDigestMismatch("the input that arrived has another SHA-256 than the lease says")
    fail_point("input_received")
    spool.prepare_part(lease.token)
    write_durably(spool.input_path(lease.token), bytes(content))
    fail_point("input_fetched")


def upload_output(unit: Unit, *, network: Network, spool: Spool) -> None:
    """Send an output by tus, from wherever the server stands. Returns when the server has and accepts all of it."""
    path = OUTPUTS_PATH + unit.token
    with spool.output_path(unit.token).open("rb") as file:
        total = os.fstat(file.fileno()).st_size
        offset = _offset(network.head(path))
        fail_point("upload_offset_known")
        for _ in range(total // UPLOAD_CHUNK_BYTES + 1 + OFFSET_CONFLICTS_MAX):
            file.seek(offset)
            offset = _send_chunk(network, path, offset, file.read(UPLOAD_CHUNK_BYTES))
            fail_point("upload_chunk_sent")
            if offset >= total:
                return
    raise Unreachable("the upload makes no progress")


def _send_chunk(network: Network, path: str, offset: int, chunk: bytes) -> int:
    """Return the server's offset after one PATCH; a refused piece leaves it where the server says it is."""
    headers = {
        "Content-Type": "application/offset+octet-stream",
        "Upload-Offset": str(offset),
        "Upload-Checksum": "sha256 " + base64.b64encode(hashlib.sha256(chunk).digest()).decode("ascii"),
    }
    try:
        return _offset(network.patch(path, chunk, headers))
    except ServerRefused as refused:
        if refused.problem == "upload_offset_conflict" or refused.status == CHECKSUM_MISMATCH_STATUS:
            return _offset(network.head(path))
        raise


def _offset(headers: Mapping[str, str]) -> int:
    value = headers.get("Upload-Offset") or ""
    if not value.isdigit():
        raise Unreachable("the answer has no Upload-Offset")
    return int(value)
