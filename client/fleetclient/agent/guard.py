"""A thread that only watches: when the car leaves, the runner is frozen whatever the agent's loop is doing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from fleetclient.agent.brake import Brake
from fleetclient.clock import boot_seconds
from fleetclient.vehicle.source import VehicleState

LOOK_SECONDS_MAX = 5.0


class Watched(Protocol):
    """A source that freezes the runner by itself when the answer is no, and says when it wants to be read again."""

    def refresh(self, now: float) -> VehicleState:
        """Look and return the state at `now`; the runner is frozen by the time it returns a no."""
        ...

    def due_at(self) -> float:
        """Return when the next look is due, on the boot clock."""
        ...


class Guard:
    """Looks whenever it is woken and whenever a look is due, and wakes the loop when the answer changed.

    `wake` is what signal sources and the control socket call; it is safe from any thread and returns at once. Should
    the watching itself fail, the brake stays pressed and `failure` says why: the agent has to end.
    """

    def __init__(
        self,
        watched: Watched,
        *,
        brake: Brake,
        wake_loop: Callable[[], None],
        now: Callable[[], float] = boot_seconds,
    ) -> None:
        self._watched = watched
        self._brake = brake
        self._wake_loop = wake_loop
        self._now = now
        self._woken = threading.Event()
        self._is_over = False
        self._thread = threading.Thread(target=self._serve, name="fleetclient-guard", daemon=True)
        self.failure: Exception | None = None

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching. Returns when no look is under way any more."""
        self._is_over = True
        self._woken.set()
        self._thread.join()

    def wake(self) -> None:
        """Look now."""
        self._woken.set()

    def _serve(self) -> None:
        try:
            self._watch()
        except Exception as error:  # noqa: BLE001 - the edge of a thread: nothing may run unwatched
            self._brake.press()
            self.failure = error
            self._wake_loop()

    def _watch(self) -> None:
        before: VehicleState | None = None
        while not self._is_over:
            state = self._watched.refresh(self._now())
            # A shorter absence is no news; a different verdict, reason or wish is.
            if before is None or _news(state) != _news(before):
                before = state
                self._wake_loop()
            self._woken.wait(min(max(0.0, self._watched.due_at() - self._now()), LOOK_SECONDS_MAX))
            self._woken.clear()


def _news(state: VehicleState) -> tuple[bool, bool, tuple[str, ...]]:
    return state.eligible, state.is_finishing, state.reasons
