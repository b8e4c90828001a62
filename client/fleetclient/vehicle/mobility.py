"""The simulated source: a seeded life, lived at the pace the options ask for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from threading import Event, Thread

from fleetclient.clock import boot_seconds
from fleetclient.vehicle.board import Board
from fleetclient.vehicle.options import SimulationOptions
from fleetclient.vehicle.signals import Signals
from fleetclient.vehicle.trace import SOURCE, begin_trace

# Charge and temperatures move between the changes of yes and no: this often they are worked out anew.
NUMBERS_SECONDS = 1.0


class SimulatedSource:
    """A car whose time begins at `start` when the agent does, and passes `speed` times as fast as ours."""

    def __init__(
        self,
        options: SimulationOptions,
        *,
        began_at: float,
        start: datetime,
        clock: Callable[[], float] = boot_seconds,
    ) -> None:
        self._speed = options.speed
        self._began_at = began_at
        self._clock = clock
        self._trace, self._offset = begin_trace(options, start)
        self._board = Board(SOURCE)
        self._stopping = Event()
        self._thread = Thread(target=self._live, name="signals-simulated", daemon=True)
        self.problem = ""
        """Never has one."""

    def start(self, wake: Callable[[], None]) -> None:
        """Begin to live."""
        self._board.ring_with(wake)
        self._thread.start()

    def read(self, now_elapsed: float) -> Signals:
        """Return the latest snapshot, as fresh as `now_elapsed`; unknown before `start`."""
        told = self._board.read().readings
        return Signals({name: self._board.reading(each.value, now_elapsed) for name, each in told.items()})

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _live(self) -> None:
        while not self._stopping.is_set():
            now = self._clock()
            at = self._offset + (now - self._began_at) * self._speed
            self._board.post(self._trace.signals_at(at), observed_at=now)
            pause = (self._trace.next_change(at) - at) / self._speed
            self._stopping.wait(min(pause, NUMBERS_SECONDS))
