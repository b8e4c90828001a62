"""Signals that a car cannot tell, taken for no because its owner says so. Never those that protect people."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from fleetclient.vehicle.signals import Reading, Signals

ASSUMABLE = ("updating", "sentry_on", "charging")
SOURCE = "owner"


class AssumingSource:
    """A source whose silence on some signals means no. What it does say of them counts."""

    def __init__(self, source: Any, names: Iterable[str]) -> None:
        self._source = source
        self._names = tuple(names)

    @property
    def problem(self) -> str:
        """Why signals are missing or old, in a sentence for the owner; empty when all is well."""
        return str(self._source.problem)

    def start(self, wake: Callable[[], None]) -> None:
        """Begin to listen."""
        self._source.start(wake)

    def read(self, now_elapsed: float) -> Signals:
        """Return the latest snapshot with the owner's word in its gaps."""
        signals: Signals = self._source.read(now_elapsed)
        gaps = [name for name in self._names if name not in signals.readings]
        return Signals({**signals.readings, **{name: Reading(False, now_elapsed, SOURCE) for name in gaps}})  # noqa: FBT003

    def stop(self) -> None:
        """Stop listening."""
        self._source.stop()
