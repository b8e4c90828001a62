"""The time that signed files are judged by: it may run ahead of the truth, but nobody can turn it back.

The car's own clock can be wrong and the server's can lie, and either would like an expired signature to live on. So
the greatest of all is taken: the car's clock, and the last time that is known to have passed plus what the monotonic
clock has counted since. What is known to have passed is remembered only after a look that found nothing expired, so
a clock that jumps years ahead for a moment stops work for that moment and not for years.
"""

from __future__ import annotations

from collections.abc import Callable

from fleetclient.clock import boot_seconds, wall_seconds


class TrustClock:
    """Unix seconds that never go back in the life of a process. Thread-safe: its state is one tuple."""

    def __init__(
        self, *, wall: Callable[[], float] = wall_seconds, elapsed: Callable[[], float] = boot_seconds
    ) -> None:
        self._wall = wall
        self._elapsed = elapsed
        self._anchor = (0.0, elapsed())

    def now(self) -> float:
        """Return the time to judge an expiry by."""
        passed_at, noted_at = self._anchor
        return max(self._wall(), passed_at + self._elapsed() - noted_at)

    def note_passed(self, moment: float) -> None:
        """Remember that this moment has passed."""
        passed_at, noted_at = self._anchor
        elapsed = self._elapsed()
        if moment > passed_at + elapsed - noted_at:
            self._anchor = (moment, elapsed)
