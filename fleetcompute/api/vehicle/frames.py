"""Frames: `FLT1`, the length of the JSON, the JSON, then attachments back to back. Nothing is base64 inside JSON."""

from __future__ import annotations

import struct
from typing import Any

import orjson

from fleetcompute.api.errors import Malformed

MAGIC = b"FLT1"
CONTENT_TYPE = "application/vnd.fleetcompute.frame"
JSON_BYTES_MAX = 1024 * 1024
_HEAD = struct.Struct(">4sI")


def read_frame(body: bytes) -> tuple[dict[str, Any], memoryview]:
    """Return a frame's JSON object and its attachments. Raises Malformed."""
    if len(body) < _HEAD.size:
        raise Malformed("the body is shorter than a frame's head")
    magic, json_bytes = _HEAD.unpack_from(body)
    if magic != MAGIC:
        raise Malformed("the body does not begin with FLT1")
    if json_bytes > min(JSON_BYTES_MAX, len(body) - _HEAD.size):
        raise Malformed(f"the frame's JSON is said to have {json_bytes} bytes")
    end = _HEAD.size + json_bytes
    try:
        content = orjson.loads(body[_HEAD.size : end])
    except orjson.JSONDecodeError as error:
        raise Malformed(f"the frame's JSON cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise Malformed("the frame's JSON is not an object")
    return content, memoryview(body)[end:]


def write_frame(content: dict[str, Any]) -> bytes:
    """Return a frame without attachments."""
    encoded = orjson.dumps(content)
    return _HEAD.pack(MAGIC, len(encoded)) + encoded
