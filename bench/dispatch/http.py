"""The cheapest HTTP client that serves: one kept-alive socket, one request at a time, answers with a Content-Length."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from typing import Self

RECEIVE_BYTES = 256 * 1024
ANSWER_SECONDS_MAX = 60.0
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer; its headers are parsed only where somebody looks at them."""

    status: int
    head: bytes
    body: bytes

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, found in whatever case they are asked for."""
        return BytesHeaderParser().parsebytes(self.head.partition(b"\r\n")[2])  # type: ignore[return-value]


class KeptConnection:
    """A socket to one server."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), timeout=ANSWER_SECONDS_MAX)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def exchange(self, request: bytes) -> Answer:
        """Send a whole request and return its answer. Raises OSError where the server hangs up."""
        self._socket.sendall(request)
        received = self._socket.recv(RECEIVE_BYTES)
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._receive()
        head = received[: end + 4]
        length = _LENGTH.search(head)
        if length is None:
            raise OSError("the answer has no Content-Length")
        total = end + 4 + int(length[1])
        while len(received) < total:
            received += self._receive()
        return Answer(int(head[9:12]), head, received[end + 4 : total])

    def _receive(self) -> bytes:
        part = self._socket.recv(RECEIVE_BYTES)
        if not part:
            raise OSError("the server closed the connection in the middle of an answer")
        return part
