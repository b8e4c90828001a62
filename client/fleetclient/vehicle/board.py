"""Where a source's thread writes and the agent's loop reads: the latest readings, and a bell for changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Lock

from fleetclient.vehicle.signals import Reading, Signals, SignalValue


class Board:
    """Holds the latest signals of one source. Readers never wait: they take the whole snapshot that is there."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._signals = Signals()
        self._wake: Callable[[], None] | None = None
        self._writing = Lock()

    def ring_with(self, wake: Callable[[], None]) -> None:
        """Call `wake` from now on whenever a value has changed."""
        self._wake = wake

    def read(self) -> Signals:
        """Return the latest snapshot."""
        return self._signals

    def post(self, values: Mapping[str, SignalValue | None], *, observed_at: float) -> None:
        """Replace these signals' readings and keep the others; rings when one of them says something new."""
        with self._writing:
            fresh = {name: Reading(value, observed_at, self._source) for name, value in values.items()}
            self._replace({**self._signals.readings, **fresh})

    def show(self, readings: Mapping[str, Reading]) -> None:
        """Replace the whole snapshot; rings when a signal's value has changed."""
        with self._writing:
            self._replace(dict(readings))

    def ring(self) -> None:
        """Wake the agent for a change that the readings do not show."""
        if self._wake is not None:
            self._wake()

    def reading(self, value: SignalValue | None, observed_at: float) -> Reading:
        """Return a reading in this source's name."""
        return Reading(value, observed_at, self._source)

    def _replace(self, readings: dict[str, Reading]) -> None:
        before, self._signals = self._signals, Signals(readings)
        if _values(before.readings) != _values(readings):
            self.ring()


def _values(readings: Mapping[str, Reading]) -> dict[str, SignalValue]:
    return {name: reading.value for name, reading in readings.items() if reading.value is not None}
