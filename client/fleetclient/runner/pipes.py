"""Small messages between the agent and its runner: 4 bytes of length, then JSON, over a pair of sockets.

Open files travel beside them: a message names how many belong to it, and they arrive no later than its first byte.
Tensors travel as files.
"""

from __future__ import annotations

import array
import json
import os
import socket
import struct
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

HEADER_BYTES = 4
MESSAGE_BYTES_MAX = 64 * 1024
READ_BYTES = 64 * 1024
FILES_MAX = 4
_FILES_KEY = "files"


class PipeBroken(Exception):
    """The other side wrote something that is no message."""


def encode_message(message: dict[str, Any]) -> bytes:
    """Return the bytes of one message. Shorter than a socket's buffer, so that writing one does not block."""
    content = json.dumps(message, separators=(",", ":")).encode()
    if len(content) > MESSAGE_BYTES_MAX:
        raise PipeBroken("the message is too long")
    return struct.pack(">I", len(content)) + content


def send_message(channel: socket.socket, message: dict[str, Any], files: Sequence[int] = ()) -> None:
    """Send a message with copies of open files. Raises BrokenPipeError when the other side is gone."""
    content = encode_message({**message, _FILES_KEY: len(files)})
    sent = socket.send_fds(channel, [content], list(files)) if files else channel.send(content)
    channel.sendall(content[sent:])


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """A message with the open files that came with it; whoever takes it closes them."""

    message: dict[str, Any]
    files: tuple[int, ...]


class Inbox:
    """The child's end for reading. It makes no system call but `recvmsg`."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._reader = MessageReader()
        self._files: deque[int] = deque()
        self._waiting: deque[Delivery] = deque()
        self._is_closed = False

    def receive(self) -> Delivery | None:
        """Return the next message, waiting for it; None when the agent closed its end."""
        while not self._waiting and not self._is_closed:
            self._read(0)
        return self._waiting.popleft() if self._waiting else None

    def receive_now(self) -> list[Delivery]:
        """Return the messages that are there already."""
        while not self._is_closed:
            try:
                self._read(socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
        there = list(self._waiting)
        self._waiting.clear()
        return there

    def _read(self, flags: int) -> None:
        room = socket.CMSG_SPACE(FILES_MAX * array.array("i").itemsize)
        piece, ancillary, _, _ = self._channel.recvmsg(READ_BYTES, room, flags | socket.MSG_CMSG_CLOEXEC)
        self._is_closed = not piece
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self._files.extend(array.array("i", content))
        for message in self._reader.feed(piece):
            files = tuple(self._files.popleft() for _ in range(message.pop(_FILES_KEY)))
            self._waiting.append(Delivery(message=message, files=files))


def read_file(descriptor: int) -> bytes:
    """Return all of an open file, read from its start, whatever its position."""
    size, parts, at = os.lseek(descriptor, 0, os.SEEK_END), [], 0
    while at < size and (piece := os.pread(descriptor, size - at, at)):
        parts.append(piece)
        at += len(piece)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _parse(content: bytes) -> dict[str, Any]:
    try:
        message = json.loads(content)
    except (ValueError, RecursionError) as error:  # the latter for brackets without end
        raise PipeBroken(f"the message is not JSON: {error}") from None
    if not isinstance(message, dict):
        raise PipeBroken("the message is not an object")
    return message
