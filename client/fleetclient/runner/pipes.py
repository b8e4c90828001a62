"""Small messages between the agent and its runner: 4 bytes of length, then JSON. Tensors travel as files."""

from __future__ import annotations

import json
import struct
from typing import Any

HEADER_BYTES = 4
MESSAGE_BYTES_MAX = 64 * 1024


class PipeBroken(Exception):
    """The other side wrote something that is no message."""


def encode_message(message: dict[str, Any]) -> bytes:
    """Return the bytes of one message. Shorter than a pipe's buffer, so that writing one does not block."""
    content = json.dumps(message, separators=(",", ":")).encode()
    if len(content) > MESSAGE_BYTES_MAX:
        raise PipeBroken("the message is too long")
    return struct.pack(">I", len(content)) + content


class MessageReader:
    """Cuts a stream of bytes into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, piece: bytes) -> list[dict[str, Any]]:
        """Return the messages that `piece` completes; raises PipeBroken."""
        self._buffer += piece
        messages = []
        while len(self._buffer) >= HEADER_BYTES:
            (length,) = struct.unpack_from(">I", self._buffer)
            if length > MESSAGE_BYTES_MAX:
                raise PipeBroken("the message is too long")
            if len(self._buffer) < HEADER_BYTES + length:
                break
            messages.append(_parse(bytes(self._buffer[HEADER_BYTES : HEADER_BYTES + length])))
            del self._buffer[: HEADER_BYTES + length]
        return messages


def _parse(content: bytes) -> dict[str, Any]:
    try:
        message = json.loads(content)
    except ValueError as error:
        raise PipeBroken(f"the message is not JSON: {error}") from None
    if not isinstance(message, dict):
        raise PipeBroken("the message is not an object")
    return message
