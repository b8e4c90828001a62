"""A car that does what it is told: absences from a schedule, in seconds since the agent began, and at a script's wish.

Unless told otherwise it stands plugged in at home, charged, with nobody in it. An absence is told by the signals that
the reason's gate looks at, so that the rules give that reason; a reason that no signal can say (the owner's pause, say)
is told as a car that is not plugged in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Event, Thread
from types import MappingProxyType

from fleetclient.clock import boot_seconds
from fleetclient.vehicle.board import Board
from fleetclient.vehicle.signals import SIGNALS, Signals, SignalValue

Told = Mapping[str, SignalValue | None]

AT_HOME: Told = MappingProxyType(
    {
        "parked": True, "plugged_in": True, "charging": False, "soc_pct": 90.0, "charge_limit_pct": 90.0,
        "at_home": True, "on_home_wifi": True, "user_present": False, "cabin_temp_c": 21.0, "pack_temp_c": 21.0,
        "sentry_on": False, "updating": False,
    }
)  # fmt: skip

NOT_PLUGGED_IN: Told = MappingProxyType({"plugged_in": False})
# What differs from AT_HOME while the car is away for a reason.
AWAY: Mapping[str, Told] = MappingProxyType(
    {
        "driving": {
            "parked": False, "plugged_in": False, "at_home": False, "on_home_wifi": False, "user_present": True,
        },
        "not_parked": {"parked": False},
        "unplugged": NOT_PLUGGED_IN,
        "not_plugged_in": NOT_PLUGGED_IN,
        "soc_low": {"soc_pct": 5.0},
        "charging_first": {"soc_pct": 75.0, "charging": True},
        "user_present": {"user_present": True},
        "not_home_wifi": {"on_home_wifi": False},
        "too_hot": {"cabin_temp_c": 70.0},
        "too_cold": {"cabin_temp_c": -35.0},
        "updating": {"updating": True},
        "signal_stale": dict.fromkeys(SIGNALS),
    }
)  # fmt: skip
BEFORE_START_REASON = "not_plugged_in"
# How often the away file is looked for: the longest a script waits before its car leaves.
LOOK_SECONDS = 0.05


class ScriptedSource:
    """A car that is not plugged in until `start_delay_seconds`, and away during each half-open [start, end).

    It is also away while `away_file` exists; nobody knows for how long.
    """

    def __init__(
        self,
        *,
        began_at: float,
        away: Sequence[tuple[float, float]] = (),
        away_reason: str = "driving",
        away_file: Path | None = None,
        start_delay_seconds: float = 0.0,
        clock: Callable[[], float] = boot_seconds,
    ) -> None:
        self._began_at = began_at
        self._away_reason = away_reason
        self._away_file = away_file
        self._absences = [(start, end, away_reason) for start, end in away]
        if start_delay_seconds > 0:
            self._absences.append((0.0, start_delay_seconds, BEFORE_START_REASON))
        self._clock = clock
        self._board = Board("scripted")
        self._stopping = Event()
        self._thread = Thread(target=self._watch, name="signals-scripted", daemon=True)
        self.problem = ""
        """Never has one."""

    def start(self, wake: Callable[[], None]) -> None:
        """Begin to follow the schedule."""
        self._board.ring_with(wake)
        self._thread.start()

    def read(self, now_elapsed: float) -> Signals:
        """Return the signals at `now_elapsed`; unknown before `start`."""
        if not self._thread.is_alive():
            return self._board.read()
        return self._signals(now_elapsed)

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def absent_seconds(self, now_elapsed: float) -> float | None:
        """Return how long the present absence will still last; None when nobody knows, or when there is none."""
        if self._is_sent_away():
            return None
        present = self._absence(now_elapsed)
        return None if present is None else present[0]

    def _signals(self, now: float) -> Signals:
        reason = self._away_reason if self._is_sent_away() else (self._absence(now) or (0.0, ""))[1]
        told = {**AT_HOME, **(AWAY.get(reason, NOT_PLUGGED_IN) if reason else {})}
        return Signals({name: self._board.reading(value, now) for name, value in told.items()})

    def _is_sent_away(self) -> bool:
        return self._away_file is not None and self._away_file.exists()

    def _absence(self, now: float) -> tuple[float, str] | None:
        """Return what is left of the absence at `now`, in seconds, and its reason."""
        elapsed = now - self._began_at
        for start, end, reason in self._absences:
            if start <= elapsed < end:
                return end - elapsed, reason
        return None

    def _watch(self) -> None:
        while not self._stopping.is_set():
            now = self._clock()
            self._board.show(self._signals(now).readings)
            self._stopping.wait(self._pause_seconds(now))

    def _pause_seconds(self, now: float) -> float | None:
        if self._away_file is not None:
            return LOOK_SECONDS
        edges = [edge - (now - self._began_at) for start, end, _ in self._absences for edge in (start, end)]
        return min((edge for edge in edges if edge > 0), default=None)
