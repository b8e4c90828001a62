"""The car's own record of its sessions: when it worked, why it stopped, and what that cost. Kept 90 days, in SQLite.

A session begins when the runner is first given work after a time without, and ends when the car leaves, the agent
stops, or no work has come for a while. One that a crash cut off ends at what was last known of it. The record is for
the owner's eyes: nothing is decided by it, so it is not forced to disk at every move.
"""

from __future__ import annotations

import sqlite3
from dataclasses import astuple, dataclass, replace
from pathlib import Path

SESSION_SECONDS_KEPT = 90 * 24 * 3600.0
CUT_OFF = "crashed"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS session (
    id INTEGER PRIMARY KEY,
    began_at REAL NOT NULL,
    ended_at REAL NOT NULL,
    reason TEXT NOT NULL,
    units INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    bytes_moved INTEGER NOT NULL,
    worked_seconds REAL NOT NULL,
    energy_wh REAL NOT NULL
) STRICT
"""
_COLUMNS = "began_at, ended_at, reason, units, rows, bytes_moved, worked_seconds, energy_wh"
_PLACES = ", ".join("?" * 8)


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """One stretch of work. Times in Unix seconds; `reason` is why it stopped, empty while it goes on."""

    began_at: float
    ended_at: float
    reason: str = ""
    units: int = 0
    rows: int = 0
    bytes_moved: int = 0
    worked_seconds: float = 0.0
    energy_wh: float = 0.0


class History:
    """The record, opened. Written by the agent's thread only; other processes may read at the same time."""

    def __init__(self, path: Path, *, now_unix: float) -> None:
        self._database = _open(path)
        self._database.execute("UPDATE session SET reason = ? WHERE reason = ''", (CUT_OFF,))
        self._database.execute("DELETE FROM session WHERE ended_at < ?", (now_unix - SESSION_SECONDS_KEPT,))
        self._row: int | None = None
        self._session: Session | None = None

    @property
    def session(self) -> Session | None:
        """The session that goes on now."""
        return self._session

    def begin(self, *, now_unix: float) -> None:
        """Begin a session unless one goes on."""
        if self._session is None:
            self._session = Session(began_at=now_unix, ended_at=now_unix)
            cursor = self._database.execute(
                f"INSERT INTO session ({_COLUMNS}) VALUES ({_PLACES})",  # noqa: S608 - constants
                astuple(self._session),
            )
            self._row = cursor.lastrowid

    def add(
        self, *, now_unix: float, units: int = 0, rows: int = 0, worked_seconds: float = 0.0, energy_wh: float = 0.0
    ) -> None:
        """Add to the session that goes on; nothing without one."""
        if self._session is not None:
            known = self._session
            self._store(
                replace(
                    known,
                    ended_at=now_unix,
                    units=known.units + units,
                    rows=known.rows + rows,
                    worked_seconds=known.worked_seconds + worked_seconds,
                    energy_wh=known.energy_wh + energy_wh,
                )
            )

    def end(self, reason: str, *, now_unix: float, bytes_moved: int) -> None:
        """End the session that goes on, if any."""
        if self._session is not None:
            self._store(replace(self._session, ended_at=now_unix, reason=reason, bytes_moved=bytes_moved))
            self._session = self._row = None

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _store(self, session: Session) -> None:
        self._session = session
        self._database.execute(
            f"UPDATE session SET ({_COLUMNS}) = ({_PLACES}) WHERE id = ?",  # noqa: S608 - constants
            (*astuple(session), self._row),
        )


def list_sessions(path: Path, *, since_unix: float = 0.0) -> list[Session]:
    """Return the recorded sessions that ended since a moment, oldest first; also while an agent writes."""
    if not path.exists():
        return []
    database = _open(path)
    try:
        rows = database.execute(
            f"SELECT {_COLUMNS} FROM session WHERE ended_at >= ? ORDER BY began_at",  # noqa: S608 - constants
            (since_unix,),
        ).fetchall()
    finally:
        database.close()
    return [Session(**dict(zip(Session.__slots__, row, strict=True))) for row in rows]


def _open(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute(_SCHEMA)
    return database
