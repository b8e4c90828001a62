"""The brake: freezes the runner from any thread, and lets it go on only when nobody has pressed since one looked.

The agent's loop may be inside a slow step (a forced write, the start of a process) at the moment when the car leaves;
the thread that hears of it presses the brake without asking the loop.
"""

from __future__ import annotations

import threading
from typing import Protocol


class Frozen(Protocol):
    """What the brake holds: a runner, or a self-test. Both calls only send a signal, and return at once."""

    def stop(self) -> None:
        """Freeze it."""
        ...

    def resume(self) -> None:
        """Let it go on."""
        ...


class Brake:
    """One brake for all that burns processor time in the agent's name. Safe to use from several threads.

    What starts while the brake is pressed is frozen at once: `attach` and `press` take the same lock, so whichever
    comes second does it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: list[Frozen] = []
        self._is_pressed = False
        self._presses = 0

    @property
    def presses(self) -> int:
        """How often it was pressed: remember it before looking at the car, and give it to `release`."""
        return self._presses

    @property
    def is_pressed(self) -> bool:
        """True while the runner must not run."""
        return self._is_pressed

    def press(self) -> None:
        """Freeze the runner, now and as long as nobody releases the brake."""
        with self._lock:
            self._presses += 1
            if not self._is_pressed:
                self._is_pressed = True
                for held in self._held:
                    held.stop()

    def release(self, presses: int) -> bool:
        """Let the runner go on, unless the brake was pressed since `presses` was read; return True if it runs."""
        with self._lock:
            if self._presses != presses:
                return False
            if self._is_pressed:
                self._is_pressed = False
                for held in self._held:
                    held.resume()
            return True

    def attach(self, started: Frozen) -> None:
        """Take charge of what was just started."""
        with self._lock:
            self._held.append(started)
            if self._is_pressed:
                started.stop()

    def detach(self, ended: Frozen) -> None:
        """Forget it before it is reaped: its process id is somebody else's from then on."""
        with self._lock:
            self._held = [held for held in self._held if held is not ended]
