"""Virtual time: the driver says what time it is, for cars and server alike."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from unittest import mock

BEGIN = datetime(2026, 6, 1, tzinfo=UTC)


class VirtualClock:
    """The time of a run. It only moves on, and only when it is told to."""

    def __init__(self) -> None:
        self._now = BEGIN

    def now(self) -> datetime:
        """Return the time."""
        return self._now

    def unix(self) -> float:
        """Return the time in seconds since 1970."""
        return self._now.timestamp()

    @property
    def seconds(self) -> float:
        """Seconds since the run began."""
        return (self._now - BEGIN).total_seconds()

    def move_to(self, seconds: float) -> None:
        """Let time pass until so many seconds after the beginning."""
        at = BEGIN + timedelta(seconds=seconds)
        if at < self._now:
            raise ValueError(f"time runs forward: {at} is before {self._now}")
        self._now = at

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Make it the server's clock: everywhere that the outside world's time enters, it is read by one of these."""
        with (
            mock.patch("django.utils.timezone.now", self.now),
            # Signatures are checked against the wall clock.
            mock.patch("fleetcompute.api.vehicle.guard.time", SimpleNamespace(time=self.unix)),
        ):
            yield
