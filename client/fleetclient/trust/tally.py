"""Counts the bytes of something short that stands beside the day's own meter: a look, or a command."""

from __future__ import annotations

import threading

from fleetclient.netpolicy.policy import DayBytes


class Tally:
    """A meter (`netpolicy.policy.ByteMeter`) that begins with what the day has already cost. Thread-safe.

    `sent` and `received` are its own bytes, without those from before.
    """

    def __init__(self, *, sent_before: int = 0, moved_before: int = 0) -> None:
        self._before = (sent_before, moved_before)
        self._lock = threading.Lock()
        self.sent = 0
        self.received = 0

    def add_bytes(self, sent: int, received: int) -> None:
        """Count bytes that are about to move or have moved."""
        with self._lock:
            self.sent += sent
            self.received += received

    @property
    def bytes_sent(self) -> int:
        """Bytes sent today, those from before included."""
        return self._before[0] + self.sent

    @property
    def bytes_moved(self) -> int:
        """Bytes both ways today, those from before included."""
        return self._before[1] + self.sent + self.received

    def today(self) -> DayBytes:
        """Return the present day's count: this tally."""
        return self
