"""What the work has cost the owner: bytes, hours and energy, by the days of the car's own calendar.

Counted in memory and stored ahead: the file always says at least as much as was used, so a crash or a power cut makes
the counts higher by at most `BYTES_AHEAD` each way and `SECONDS_AHEAD`, never lower, at one forced write for each such
step.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

from fleetclient.clock import wall_seconds
from fleetclient.failpoints import fail_point
from fleetclient.files import write_durably

BYTES_AHEAD = 8 * 1024**2
SECONDS_AHEAD = 120.0
ENERGY_AHEAD_WH = 5.0
DAYS_KEPT = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class DayUsage:
    """One day: bytes each way, seconds in which the runner worked, and an estimate of the energy that took."""

    bytes_sent: int = 0
    bytes_received: int = 0
    worked_seconds: float = 0.0
    energy_wh: float = 0.0

    @property
    def bytes_moved(self) -> int:
        """Both ways together: what data caps count."""
        return self.bytes_sent + self.bytes_received

    def covers(self, other: DayUsage) -> bool:
        """Return True when nothing in `other` is more than here."""
        return all(getattr(self, name) >= getattr(other, name) for name in DayUsage.__slots__)

    def plus(self, other: DayUsage) -> DayUsage:
        """Return the sum."""
        return DayUsage(**{name: getattr(self, name) + getattr(other, name) for name in DayUsage.__slots__})


_NOTHING = DayUsage()
_AHEAD = DayUsage(
    bytes_sent=BYTES_AHEAD, bytes_received=BYTES_AHEAD, worked_seconds=SECONDS_AHEAD, energy_wh=ENERGY_AHEAD_WH
)


class UsageMeter:
    """The meter of one car. Safe to use from several threads; reading never waits for a write.

    `wall` gives Unix seconds, corrected by the server's clock where that is known; `zone` is the car's time zone.
    """

    def __init__(self, path: Path, *, zone: tzinfo = UTC, wall: Callable[[], float] = wall_seconds) -> None:
        self._path = path
        self._zone = zone
        self._wall = wall
        self._lock = threading.Lock()
        loaded = _load(path)
        # The file is written whole or not at all, so what cannot be read is somebody else's doing.
        self.was_unreadable = loaded is None
        self._days = loaded or {}
        self._stored = dict(self._days)

    def add_bytes(self, sent: int, received: int) -> None:
        """Count bytes that are about to move or have moved."""
        self._add(DayUsage(bytes_sent=sent, bytes_received=received))

    def add_work(self, seconds: float, energy_wh: float = 0.0) -> None:
        """Count time in which the runner worked."""
        self._add(DayUsage(worked_seconds=seconds, energy_wh=energy_wh))

    def today(self) -> DayUsage:
        """Return the present day's usage so far."""
        return self._days.get(self._day(), _NOTHING)

    def this_month(self) -> DayUsage:
        """Return the present calendar month's usage so far."""
        month, total = self._day()[:7], _NOTHING
        for day, usage in list(self._days.items()):
            if day.startswith(month):
                total = total.plus(usage)
        return total

    @property
    def bytes_today(self) -> int:
        """Bytes both ways today."""
        return self.today().bytes_moved

    @property
    def bytes_this_month(self) -> int:
        """Bytes both ways this calendar month."""
        return self.this_month().bytes_moved

    @property
    def worked_seconds_today(self) -> float:
        """Seconds in which the runner worked today."""
        return self.today().worked_seconds

    def list_days(self) -> dict[str, DayUsage]:
        """Return the days of the last months, oldest first, by their ISO date."""
        return dict(sorted(self._days.items()))

    def close(self) -> None:
        """Store the exact counts."""
        with self._lock:
            self._store(dict(self._days))

    def _day(self) -> str:
        return datetime.fromtimestamp(self._wall(), self._zone).date().isoformat()

    def _add(self, more: DayUsage) -> None:
        with self._lock:
            day = self._day()
            used = self._days.get(day, _NOTHING).plus(more)
            if not self._stored.get(day, _NOTHING).covers(used):
                # Days that are over are stored as they were; only the present one is ahead.
                self._store({**self._days, day: used.plus(_AHEAD)})
                fail_point("usage_reserved")
            # A new dictionary each time: readers in other threads iterate over the old one.
            self._days = {**self._days, day: used}

    def _store(self, days: dict[str, DayUsage]) -> None:
        kept = dict(sorted(days.items())[-DAYS_KEPT:])
        document = {day: {name: getattr(usage, name) for name in DayUsage.__slots__} for day, usage in kept.items()}
        write_durably(self._path, json.dumps({"days": document}).encode())
        self._stored = kept
        self._days = {day: usage for day, usage in self._days.items() if day in kept}


def _load(path: Path) -> dict[str, DayUsage] | None:
    try:
        document: dict[str, dict[str, Any]] = json.loads(path.read_bytes())["days"]
        return {day: replace(_NOTHING, **values) for day, values in document.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
