"""Stops calling a server that keeps turning this car away: asking again every minute helps nobody."""

from __future__ import annotations

import threading
from typing import ClassVar

from fleetclient.netpolicy.refusals import ServerRefused

REFUSALS_MAX = 3
OPEN_SECONDS = 3600.0
# These speak of one replica or are final anyway; the car itself is not turned away.
_NOT_COUNTED = frozenset({"vehicle_revoked", "replica_not_yours"})


class CircuitOpen(ServerRefused):
    """The server has turned this car away several times; the next attempt is later.

    Its status says "too many requests" so that whoever tried waits as long as `retry_after_seconds` says.
    """

    code: ClassVar[str] = "circuit_open"


class Breaker:
    """Opens for an hour after some refusals (401, 403) in a row; then one attempt decides. Thread-safe.

    It forgets when the process ends: an owner who mends something and starts anew is heard at once.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._refusals = 0
        self._open_until = float("-inf")

    def check(self, now: float) -> None:
        """Raise CircuitOpen while the server is left alone; `now` is monotonic."""
        with self._lock:
            left = self._open_until - now
            if left > 0:
                raise CircuitOpen(
                    status=429,
                    problem="circuit_open",
                    detail=f"the server has turned this car away; next attempt in {left:.0f} s",
                    retry_after_seconds=left,
                )

    def note_refusal(self, refused: ServerRefused, now: float) -> bool:
        """Count a refusal; return True when it is the first one to open the circuit since the last good answer."""
        if refused.status not in (401, 403) or refused.problem in _NOT_COUNTED:
            return False
        with self._lock:
            self._refusals += 1
            if self._refusals < REFUSALS_MAX:
                return False
            self._open_until = now + OPEN_SECONDS
            return self._refusals == REFUSALS_MAX

    def note_answer(self) -> None:
        """Forget: the server knows this car."""
        with self._lock:
            self._refusals = 0
            self._open_until = float("-inf")
