"""Frames: `FLT1`, the length of the JSON (4 bytes, big-endian), the JSON, then attachments back to back."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any

from fleetclient.wire.fields import Document, MalformedMessage, as_document

FRAME_MAGIC = b"FLT1"
FRAME_CONTENT_TYPE = "application/vnd.fleetcompute.frame"
HEADER_BYTES = 8
JSON_BYTES_MAX = 16 * 1024 * 1024

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def dump_json(value: Any) -> bytes:
    """Return compact UTF-8 JSON."""
    return _encode(value).encode()


def encode_frame_json(document_json: bytes, attachments: Sequence[bytes] = ()) -> bytes:
    """Return a frame around JSON that is already encoded: for callers who build it from precomputed pieces."""
    return b"".join((FRAME_MAGIC, struct.pack(">I", len(document_json)), document_json, *attachments))


def encode_frame(document: Document, attachments: Sequence[bytes] = ()) -> bytes:
    """Return the bytes of a frame. The caller's document already points into the attachments by offset and length."""
    return encode_frame_json(dump_json(document), attachments)


def decode_frame(frame: bytes) -> tuple[Document, memoryview]:
    """Return the document and the attachments of a frame; raises MalformedMessage."""
    if len(frame) < HEADER_BYTES or frame[:4] != FRAME_MAGIC:
        raise MalformedMessage("the frame does not begin with FLT1")
    (json_bytes,) = struct.unpack_from(">I", frame, 4)
    end = HEADER_BYTES + json_bytes
    if json_bytes > JSON_BYTES_MAX or end > len(frame):
        raise MalformedMessage("the frame is shorter than its JSON")
    try:
        document = json.loads(frame[HEADER_BYTES:end])
    except (ValueError, RecursionError) as error:
        raise MalformedMessage(f"the frame's JSON cannot be read: {error}") from None
    return as_document(document, "the frame's JSON"), memoryview(frame)[end:]
