"""How far the server's clock is from this machine's, by its `Date` and by what it signs.

The machine's clock is nobody's business here: the difference is added where the server's time is needed (signatures,
the rules' windows). A machine without a battery for its clock starts in 1970 and works all the same.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from email.utils import parsedate_to_datetime

from fleetclient.clock import boot_seconds, wall_seconds
from fleetclient.logs import Log

# Below this the difference is left alone: Date has whole seconds, and journeys take time.
OFFSET_SECONDS_MIN = 5.0
WARN_SECONDS = 60.0
# The server's clock against time since boot: nothing but a wrong clock there, or a liar, moves that.
JUMP_SECONDS = 30.0


class ClockSkew:
    """The difference, from every answer. Thread-safe.

    A jump of the server's clock is believed when the director signed it, when the server refused a signature for its
    age, or when the next answer says the same; until then the old difference stands. Each jump is logged.
    """

    def __init__(
        self,
        log: Log | None = None,
        *,
        boot: Callable[[], float] = boot_seconds,
        wall: Callable[[], float] = wall_seconds,
    ) -> None:
        self._log = log
        self._boot = boot
        self._wall = wall
        self._lock = threading.Lock()
        self._server_at_boot: float | None = None
        self._doubted: float | None = None
        self._has_warned = False

    @property
    def seconds(self) -> float | None:
        """The server's clock less this machine's; None before the first answer."""
        if self._server_at_boot is None:
            return None
        return self._server_at_boot - (self._wall() - self._boot())

    @property
    def offset_seconds(self) -> float:
        """What to add to this machine's clock to get the server's; 0 while they agree well enough."""
        seconds = self.seconds
        return seconds if seconds is not None and abs(seconds) >= OFFSET_SECONDS_MIN else 0.0

    def observe_date(self, date: str, *, sent_at: float, received_at: float, is_believed: bool = False) -> None:
        """Learn from a `Date` header; the times are of the boot clock. One that cannot be read says nothing."""
        try:
            # On average half a second has passed since the second that it names began.
            server = parsedate_to_datetime(date).timestamp() + 0.5
        except (TypeError, ValueError):
            return
        self.observe(server, sent_at=sent_at, received_at=received_at, is_believed=is_believed)

    def observe(self, server: float, *, sent_at: float, received_at: float, is_believed: bool) -> None:
        """Learn from the server's Unix time, as of half way between the question and the answer."""
        at_boot = server - (sent_at + received_at) / 2
        with self._lock:
            known = self._server_at_boot
            tolerance = JUMP_SECONDS + (received_at - sent_at)
            if known is not None and abs(at_boot - known) > tolerance:
                is_repeated = self._doubted is not None and abs(at_boot - self._doubted) <= tolerance
                self._say("server_clock_jumped", seconds=round(at_boot - known, 1), is_believed=is_believed)
                self._doubted = at_boot
                if not (is_believed or is_repeated):
                    return
            self._doubted = None
            self._server_at_boot = at_boot
        self._warn()

    def _warn(self) -> None:
        seconds = self.seconds or 0.0
        is_off = abs(seconds) > WARN_SECONDS
        if is_off and not self._has_warned:
            self._say("clock_is_off", seconds=round(seconds, 1), hint="let the machine set its clock by NTP")
        self._has_warned = is_off

    def _say(self, event: str, **fields: object) -> None:
        if self._log is not None:
            self._log.warning(event, **fields)
