"""The bandwidth cap: a token bucket that all threads draw from, for bytes both ways."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

# What may go at once after a pause: the small messages of a car are not held up by the cap.
BURST_SECONDS = 0.25
BURST_BYTES_MIN = 64 * 1024


class TokenBucket:
    """Lets `bytes_per_second` through on average, and `burst_bytes` at once. 0 bytes a second: no cap.

    Over any time of t seconds at most `burst_bytes + t * bytes_per_second` and one last piece are let through.
    """

    def __init__(
        self,
        bytes_per_second: float,
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate = bytes_per_second
        self.burst_bytes = max(BURST_BYTES_MIN, bytes_per_second * BURST_SECONDS)
        self._now = now
        self._sleep = sleep
        self._lock = threading.Lock()
        self._left = self.burst_bytes
        self._at = now()

    def piece_bytes(self, bytes_max: int) -> int:
        """Return a size of pieces that lets the cap act smoothly, at most `bytes_max`."""
        return min(bytes_max, max(16 * 1024, int(self._rate * BURST_SECONDS))) if self._rate else bytes_max

    def take(self, count: int) -> None:
        """Return when so many bytes may move. Whoever comes later waits longer: nobody overtakes."""
        if self._rate <= 0:
            return
        with self._lock:
            now = self._now()
            self._left = min(self.burst_bytes, self._left + (now - self._at) * self._rate) - count
            self._at = now
            wait_seconds = -self._left / self._rate
        if wait_seconds > 0:
            self._sleep(wait_seconds)
