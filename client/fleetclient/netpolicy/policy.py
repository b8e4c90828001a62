"""What the way out is asked to obey, put together by whoever starts the client."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from fleetclient.clock import boot_seconds
from fleetclient.logs import Log
from fleetclient.netpolicy.options import NetworkOptions


class DayBytes(Protocol):
    """What was moved today."""

    @property
    def bytes_sent(self) -> int:
        """Bytes sent."""
        ...

    @property
    def bytes_moved(self) -> int:
        """Bytes both ways."""
        ...


class ByteMeter(Protocol):
    """Counts bytes by the car's own days. Safe to use from several threads."""

    def add_bytes(self, sent: int, received: int) -> None:
        """Count bytes that are about to move or have moved."""
        ...

    def today(self) -> DayBytes:
        """Return the present day's count."""
        ...


class _NothingMoved:
    bytes_sent = 0
    bytes_moved = 0


class Unmetered:
    """Counts nothing: for commands that say two words to the server, and for tests."""

    def add_bytes(self, sent: int, received: int) -> None:
        """Forget it."""

    def today(self) -> DayBytes:
        """Return nothing."""
        return _NothingMoved()


@dataclass
class NetworkPolicy:
    """The options, and the questions that are asked each time. The functions may be replaced while it works.

    `may_send`: is the present network allowed. `signed_origins`, `signed_egress_bytes`: what the fleet's signed
    configuration says (empty, 0: nothing yet). `folder` is where relative paths in the options begin.
    """

    options: NetworkOptions = field(default_factory=NetworkOptions)
    folder: Path = field(default_factory=Path)
    meter: ByteMeter = field(default_factory=Unmetered)
    may_send: Callable[[], bool] = lambda: True
    signed_origins: Callable[[], Collection[str]] = tuple
    signed_egress_bytes: Callable[[], int] = lambda: 0
    log: Log | None = None
    now: Callable[[], float] = boot_seconds
    bandwidth_now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
