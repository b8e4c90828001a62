"""What the owner asked for on the spot: a pause, its end, finishing. One atomic file, so that it outlives everything.

It needs no network and no running agent. In the agent's process the wish counts from the moment it is made, before it
is on disk; other processes write the same file, and the agent sees that at its next look.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fleetclient.failpoints import fail_point
from fleetclient.files import write_durably

CONTROL_FILE = "control.json"
_FOREVER = "forever"


@dataclass(frozen=True, kw_only=True, slots=True)
class Control:
    """The wish. `paused_until_unix` is infinite when only `resume` ends the pause, None when there is none."""

    paused_until_unix: float | None = None
    is_finishing: bool = False


NOTHING_ASKED = Control()
# A file that cannot be read held some wish: the safe reading of it is the strictest one.
_UNREADABLE = Control(paused_until_unix=math.inf)


class ControlState:
    """The control file of one state folder. Safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / CONTROL_FILE
        self._changed: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._storing = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._unstored = False
        self._control = NOTHING_ASKED
        self.read()

    def call_when_changed(self, changed: Callable[[], None]) -> None:
        """Call `changed` after each wish made here, before it is forced to disk: it must only wake somebody."""
        self._changed = changed

    def pause(self, until_unix: float = math.inf) -> None:
        """Stop work until a moment, or until `resume`. Raises OSError when that cannot be stored; it counts anyway."""
        self._ask(Control(paused_until_unix=until_unix))

    def resume(self) -> None:
        """End a pause, and take new work again after `finish`."""
        self._ask(NOTHING_ASKED)

    def finish(self) -> None:
        """Finish what is held and take no more until `resume`."""
        self._ask(Control(is_finishing=True))

    def stop_now(self) -> None:
        """Stop at once and stay so until `resume`: held work goes back."""
        self._ask(Control(paused_until_unix=math.inf))

    def read(self) -> Control:
        """Return the wish that holds; one `stat` when nothing has changed."""
        with self._lock:
            if self._unstored:
                return self._control
            mark = _mark(self._path)
            if mark != self._seen:
                self._control, self._seen = _load(self._path), mark
            return self._control

    def _ask(self, control: Control) -> None:
        with self._lock:
            self._control, self._unstored = control, True
        self._changed()
        # One writer at a time, and each writes the last wish: else the earlier of two could be the one that stays.
        with self._storing:
            with self._lock:
                latest = self._control
            write_durably(self._path, _dump(latest))
            fail_point("control_written")
            with self._lock:
                if self._control is latest:
                    self._unstored = False


def _mark(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _dump(control: Control) -> bytes:
    until = control.paused_until_unix
    shown = _FOREVER if until == math.inf else until
    return json.dumps({"paused_until": shown, "finishing": control.is_finishing}).encode()


def _load(path: Path) -> Control:
    try:
        document = json.loads(path.read_bytes())
        until = document["paused_until"]
        return Control(
            paused_until_unix=math.inf if until == _FOREVER else None if until is None else float(until),
            is_finishing=bool(document["finishing"]),
        )
    except FileNotFoundError:
        return NOTHING_ASKED
    except (OSError, ValueError, KeyError, TypeError):
        return _UNREADABLE
