"""Where the loop leaves the status document, and where other threads and processes get it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from fleetclient.agent.report import fingerprint
from fleetclient.state import StateFolder

STATUS_SECONDS = 1.0
FRESH_SECONDS_MAX = 1.0


class Desk:
    """Writes the document when something in it has changed, at most once in `STATUS_SECONDS`, and on request.

    `look`, called by the loop's thread, makes the document; `wake` makes the loop pass.
    """

    def __init__(self, state: StateFolder, *, look: Callable[[], dict[str, Any]], wake: Callable[[], None]) -> None:
        self._state = state
        self._look = look
        self._wake = wake
        self._turn = threading.Condition()
        self._asks = 0
        self._answered = 0
        self._document: dict[str, Any] = {}
        self._written: dict[str, Any] = {}
        self._due_at = 0.0

    @property
    def sentence(self) -> str:
        """What the last document says to people."""
        return str(self._document.get("sentence", ""))

    def publish(self, now: float) -> float:
        """Publish what has changed; return the seconds until this wants to be called again. Loop's thread only."""
        asks, is_due = self._asks, now >= self._due_at
        if is_due or asks > self._answered:
            document = self._look()
            if is_due:
                self._due_at = now + STATUS_SECONDS
                self._write(document)
            self._show(document, asks)
        # A change between two looks has to be seen at the next one, even when nothing else happens.
        return float("inf") if is_due else self._due_at - now

    def close(self, document: dict[str, Any]) -> None:
        """Publish the last document of this agent."""
        self._write(document)
        self._show(document, self._asks)

    def fresh(self) -> dict[str, Any]:
        """Return a document made after this call, or the last one when the loop is busy. Any thread but the loop's."""
        with self._turn:
            self._asks += 1
            ask = self._asks
            self._wake()
            self._turn.wait_for(lambda: self._answered >= ask, timeout=FRESH_SECONDS_MAX)
            return self._document

    def _show(self, document: dict[str, Any], asks: int) -> None:
        with self._turn:
            self._document, self._answered = document, asks
            self._turn.notify_all()

    def _write(self, document: dict[str, Any]) -> None:
        mark = fingerprint(document)
        if mark != self._written:
            self._state.write_status(document)
            self._written = mark
