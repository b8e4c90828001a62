"""Wakes the agent's loop out of its wait: from threads, and from signals."""

from __future__ import annotations

import select
import socket
from contextlib import suppress


class Waker:
    """A pair of sockets: one to write to, one to wait on."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.settimeout(0)
        self._writer.settimeout(0)

    def wake(self) -> None:
        """End the present or the next wait. Safe in threads and signal handlers."""
        with suppress(BlockingIOError):  # a full pipe wakes as well
            self._writer.send(b"\0")

    def wait(self, seconds: float, *others: int) -> None:
        """Return when woken, when one of the other descriptors can be read, or after so many seconds."""
        select.select([self._reader.fileno(), *others], [], [], seconds)
        with suppress(BlockingIOError):
            while self._reader.recv(4096):
                pass
