"""What an agent does now and then beside its work, in the background, one call of each kind at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from fleetclient.agent.background import Background, Ended
from fleetclient.errors import ClientError
from fleetclient.logs import Log


class Chore(Protocol):
    """One kind of thing to do. All but what `prepare` returns runs on the agent's thread."""

    kind: str

    def seconds_until_due(self, now: float) -> float:
        """Return how long it may wait (boot clock); infinity while there is nothing to do."""
        ...

    def prepare(self, now: float) -> Callable[[], object]:
        """Return the call to make in the background; the next one is due later."""
        ...

    def settle(self, ended: Ended, now: float) -> None:
        """Act on its end, also when it failed in a way that was foreseen."""
        ...


class Chores:
    """Starts what is due."""

    def __init__(self, chores: Sequence[Chore], *, background: Background, log: Log) -> None:
        self._chores = {chore.kind: chore for chore in chores}
        self._background = background
        self._log = log

    def owns(self, kind: str) -> bool:
        """Return True for the kinds that are settled here."""
        return kind in self._chores

    def start(self, now: float) -> None:
        """Start what is due."""
        for kind, chore in self._chores.items():
            if not self._background.is_busy(kind) and chore.seconds_until_due(now) <= 0.0:
                self._background.start(kind, chore.prepare(now))

    def settle(self, ended: Ended, now: float) -> None:
        """Act on the end of one."""
        if ended.error is not None and not isinstance(ended.error, ClientError | OSError):
            raise ended.error
        if ended.error is not None:
            self._log.warning("chore_failed", kind=ended.kind, error=str(ended.error))
        self._chores[ended.kind].settle(ended, now)

    def seconds_until_due(self, now: float) -> float:
        """Return when `start` has something to do again."""
        waits = [c.seconds_until_due(now) for kind, c in self._chores.items() if not self._background.is_busy(kind)]
        return min(waits, default=float("inf"))
