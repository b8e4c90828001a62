"""Talks to the service manager that started the agent, if one did: ready, still alive, stopping (sd_notify).

A datagram to the socket that `NOTIFY_SOCKET` names. Without the variable everything here does nothing.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress

WATCHDOG_SHARE = 1 / 3
STATUS_CHARS_MAX = 200


class ServiceManager:
    """The manager of this process. Never raises: a manager that is gone is no reason to stop working."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        path = environment.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the abstract namespace.
        self._address = "\0" + path[1:] if path.startswith("@") else path if path.startswith("/") else ""
        self._every_seconds = _watchdog_seconds(environment) * WATCHDOG_SHARE
        self._due_at = float("-inf")
        self._status = ""

    @property
    def is_there(self) -> bool:
        """True when a manager wants to hear."""
        return bool(self._address)

    def ready(self, status: str = "") -> None:
        """Say that the start is over. Called before pairing: waiting for the owner is no failed start.

        The main process stays the one that was started: while a version is on trial that is the launcher.
        """
        self._send(f"READY=1\n{_status_line(status)}")

    def alive(self, now: float, status: str = "") -> None:
        """Say that the loop goes round; at most as often as the watchdog needs, or when the status has changed."""
        is_due = self._every_seconds > 0 and now >= self._due_at
        if is_due or (status and status != self._status):
            self._due_at, self._status = now + self._every_seconds, status
            self._send(("WATCHDOG=1\n" if self._every_seconds else "") + _status_line(status))

    def stopping(self) -> None:
        """Say that the end has begun."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if self._address:
            with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.connect(self._address)
                channel.send(message.encode())


def _watchdog_seconds(environment: Mapping[str, str]) -> float:
    try:
        return int(environment.get("WATCHDOG_USEC", "0")) / 1e6
    except ValueError:
        return 0.0


def _status_line(status: str) -> str:
    return f"STATUS={status[:STATUS_CHARS_MAX]}" if status and "\n" not in status else ""
