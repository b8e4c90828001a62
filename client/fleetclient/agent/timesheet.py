"""Keeps the owner's books while the agent works: seconds and energy into the meter, sessions into the history."""

from __future__ import annotations

from collections.abc import Callable

from fleetclient.history import History
from fleetclient.usage import UsageMeter

# A session without work for so long has ended, though the car is still there.
WORKLESS_SECONDS_MAX = 600.0
BOOK_SECONDS = 10.0
NO_WORK = "no_work"


class Timesheet:
    """Counts the time in which the runner has work and is not frozen. Used by the agent's thread.

    `watts` says what the work draws; `unix` gives Unix seconds for the history, durations come from the boot clock.
    """

    def __init__(
        self, *, usage: UsageMeter, history: History, watts: Callable[[], float], unix: Callable[[], float]
    ) -> None:
        self._usage = usage
        self._history = history
        self._watts = watts
        self._unix = unix
        self._noted_at: float | None = None
        self._unbooked_seconds = 0.0
        self._worked_at = 0.0
        self._bytes_at_start = 0

    def note(self, now: float, *, is_working: bool) -> None:
        """Count the time since the last note as work if it was; call it before the work changes."""
        if is_working:
            if self._noted_at is not None:
                self._unbooked_seconds += max(0.0, now - self._noted_at)
            self._begin()
            self._noted_at = self._worked_at = now
        else:
            self._noted_at = None
        if self._unbooked_seconds >= BOOK_SECONDS or (not is_working and self._unbooked_seconds > 0.0):
            self._book()
        if not is_working and self._history.session and now - self._worked_at > WORKLESS_SECONDS_MAX:
            self.end(NO_WORK)

    def unit_finished(self, rows: int) -> None:
        """Count one more unit of this session."""
        self._history.add(now_unix=self._unix(), units=1, rows=rows)

    def end(self, reason: str) -> None:
        """End the session, if one goes on: the car has left, or the agent stops."""
        self._book()
        self._noted_at = None
        moved = max(0, self._usage.bytes_this_month - self._bytes_at_start)
        self._history.end(reason, now_unix=self._unix(), bytes_moved=moved)

    def close(self) -> None:
        """Store the exact counts."""
        self._book()
        self._usage.close()
        self._history.close()

    def _begin(self) -> None:
        if self._history.session is None:
            self._bytes_at_start = self._usage.bytes_this_month
            self._history.begin(now_unix=self._unix())

    def _book(self) -> None:
        seconds, self._unbooked_seconds = self._unbooked_seconds, 0.0
        if seconds > 0.0:
            energy_wh = seconds * self._watts() / 3600.0
            self._usage.add_work(seconds, energy_wh)
            self._history.add(now_unix=self._unix(), worked_seconds=seconds, energy_wh=energy_wh)
