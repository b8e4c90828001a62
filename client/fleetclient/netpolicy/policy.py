"""What the way out is asked to obey, put together by whoever starts the client."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from fleetclient.clock import boot_seconds
from fleetclient.logs import Log
from fleetclient.netpolicy.options import NetworkOptions

if TYPE_CHECKING:
    from fleetclient.local.home_network import HomeNetwork


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


def anywhere() -> bool:
    """Return True: no network is named, so every one is allowed."""
    return True


@dataclass
class NetworkPolicy:
    """The options, and the questions that are asked each time. The functions may be replaced while it works.

    `may_send`: is the present network allowed; where the options name networks it is made from them, and `place` is
    what looks for them. `signed_origins`, `signed_egress_bytes`: what the fleet's signed
    configuration says (empty, 0: nothing yet). `folder` is where relative paths in the options begin.
    """

    options: NetworkOptions = field(default_factory=NetworkOptions)
    folder: Path = field(default_factory=Path)
    meter: ByteMeter = field(default_factory=Unmetered)
    may_send: Callable[[], bool] = anywhere
    signed_origins: Callable[[], Collection[str]] = tuple
    signed_egress_bytes: Callable[[], int] = lambda: 0
    log: Log | None = None
    now: Callable[[], float] = boot_seconds
    bandwidth_now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    place: HomeNetwork | None = None

    def __post_init__(self) -> None:
        """Guard the way out wherever some networks are named: nobody has to think of it."""
        if self.options.is_restricted and self.may_send is anywhere:
            from fleetclient.local.home_network import HomeNetwork  # not needed where every network is allowed

            place = HomeNetwork(
                allowed_ssids=self.options.allowed_ssids,
                allowed_gateways=self.options.allowed_gateways,
                allow_wired=self.options.allow_wired,
            )
            self.place = place
            # Not known is not allowed.
            self.may_send = lambda: place.read()[0] is True

    def read_place(self) -> tuple[bool | None, str]:
        """Return whether this network is one of those named, and a hash for its name; (None, "") where none is."""
        return self.place.read() if self.place else (None, "")
