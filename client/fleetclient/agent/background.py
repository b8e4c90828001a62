"""Network calls off the agent's thread: one at a time of each kind, so that a long download delays no sync."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """One call that is over: its value, or the error it raised."""

    kind: str
    value: object = None
    error: Exception | None = None


class Background(Protocol):
    """Starts calls and gives back the ended ones. Used by the agent's thread."""

    def start(self, kind: str, call: Callable[[], object]) -> None:
        """Start a call; the caller has made sure that none of this kind is running."""
        ...

    def is_busy(self, kind: str) -> bool:
        """Return True from `start` until `collect` has given the ended call."""
        ...

    def collect(self, wait_seconds: float = 0.0) -> list[Ended]:
        """Return the calls that have ended, waiting at most so long for a first one."""
        ...


def run_call(kind: str, call: Callable[[], object]) -> Ended:
    """Return the end of a call. Errors are values here: the agent's thread knows what each one means."""
    try:
        return Ended(kind=kind, value=call())
    except Exception as error:  # noqa: BLE001 - the edge of a thread
        return Ended(kind=kind, error=error)


class ThreadedBackground:
    """A thread for each kind, made when first needed. They are daemons: a hung call does not delay the exit."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._calls: dict[str, queue.SimpleQueue[Callable[[], object]]] = {}
        self._ended: queue.SimpleQueue[Ended] = queue.SimpleQueue()
        self._busy: set[str] = set()

    def start(self, kind: str, call: Callable[[], object]) -> None:
        """Hand the call to the thread of its kind."""
        if kind not in self._calls:
            self._calls[kind] = queue.SimpleQueue()
            threading.Thread(target=self._serve, args=(kind,), name=f"fleetclient-{kind}", daemon=True).start()
        self._busy.add(kind)
        self._calls[kind].put(call)

    def is_busy(self, kind: str) -> bool:
        """Return True while a call of this kind is running or not yet collected."""
        return kind in self._busy

    def collect(self, wait_seconds: float = 0.0) -> list[Ended]:
        """Return what has ended."""
        ended = []
        try:
            ended.append(self._ended.get(timeout=wait_seconds) if wait_seconds > 0 else self._ended.get_nowait())
            while True:
                ended.append(self._ended.get_nowait())
        except queue.Empty:
            pass
        self._busy -= {each.kind for each in ended}
        return ended

    def _serve(self, kind: str) -> None:
        while True:
            self._ended.put(run_call(kind, self._calls[kind].get()))
            self._wake()


class InlineBackground:
    """Runs each call at once, in the caller's thread: one step of the loop then does one whole exchange (tests)."""

    def __init__(self) -> None:
        self._ended: list[Ended] = []

    def start(self, kind: str, call: Callable[[], object]) -> None:
        """Run the call."""
        self._ended.append(run_call(kind, call))

    def is_busy(self, kind: str) -> bool:
        """Return True until the ended call is collected."""
        return any(ended.kind == kind for ended in self._ended)

    def collect(self, wait_seconds: float = 0.0) -> list[Ended]:
        """Return what has ended."""
        ended, self._ended = self._ended, []
        return ended
