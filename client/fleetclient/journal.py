"""The journal: every unit and its state, in SQLite, forced to disk at every move.

A move is one guarded `UPDATE … WHERE state = …`; it returns False when the unit has moved on or is gone, which is
expected when a cancellation and a result cross. A mirror in memory answers reads. Used by the agent's thread only.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

from fleetclient.failpoints import fail_point
from fleetclient.units import Result, Unit, UnitState
from fleetclient.wire import HandBack, Lease
from fleetclient.wire.answer import dump_lease, read_lease
from fleetclient.wire.contract import dump_contract, read_contract
from fleetclient.wire.frame import dump_json

SCHEMA_VERSION = 2
# From each older version to the next.
_UPGRADES = {1: "ALTER TABLE unit ADD COLUMN sketch BLOB; ALTER TABLE unit ADD COLUMN kept_at REAL;"}
_HAND_BACK = (
    "UPDATE unit SET state = 'returning', return_kind = ?, return_reason = ?, return_detail = ?"
    " WHERE token = ? AND (state = 'held' OR state = 'finished' AND kept_at IS NOT NULL)"
)


class Journal:
    """The journal file, opened. Units come in the order in which they were leased."""

    def __init__(self, path: Path, *, boot_id: str) -> None:
        self._boot_id = boot_id
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        # FULL, not the usual NORMAL of WAL: a result must not be offered and then be forgotten by a power cut.
        self._database.execute("PRAGMA synchronous = FULL")
        self._bring_up_to_date()
        self._units = {unit.token: unit for unit in self._load()}

    def _bring_up_to_date(self) -> None:
        found = self._database.execute("PRAGMA user_version").fetchone()[0]
        schema = files("fleetclient").joinpath("journal.sql").read_text("utf-8")
        steps = [schema] if found == 0 else [_UPGRADES[version] for version in range(found, SCHEMA_VERSION)]
        if steps:
            self._database.executescript(f"BEGIN; {' '.join(steps)} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def get(self, token: str) -> Unit | None:
        """Return a unit, or None when it is not (or no longer) here."""
        return self._units.get(token)

    def list_units(self, *states: UnitState) -> list[Unit]:
        """Return the units in the given states, or all of them."""
        return [unit for unit in self._units.values() if not states or unit.state in states]

    def add_leases(self, leases: Iterable[Lease], *, now: float) -> list[Unit]:
        """Write new leases as HELD, all or none; leases that are here already (sent again) stay as they are."""
        new = {lease.token: lease for lease in leases if lease.token not in self._units}
        if not new:
            return []
        with _Transaction(self._database):
            units = [self._insert(lease, now) for lease in new.values()]
        self._units |= {unit.token: unit for unit in units}
        return units

    def finish(self, token: str, result: Result) -> bool:
        """Move HELD -> FINISHED, once the output is on disk."""
        changed = self._move(
            "UPDATE unit SET state = 'finished', digest = ?, output_bytes = ?, cpu_seconds = ?, sketch = ?"
            " WHERE token = ? AND state = 'held'",
            (result.digest, result.output_bytes, result.cpu_seconds, result.sketch or None, token),
        )
        return changed and self._mirror(token, state=UnitState.FINISHED, result=result)

    def keep(self, token: str, *, now_unix: float) -> bool:
        """Note that the server has us keep a FINISHED output; the first time counts."""
        changed = self._move(
            "UPDATE unit SET kept_at = ? WHERE token = ? AND state = 'finished' AND kept_at IS NULL", (now_unix, token)
        )
        return changed and self._mirror(token, kept_at=now_unix)

    def start_upload(self, token: str) -> bool:
        """Move FINISHED -> UPLOADING: the server wants the bytes."""
        changed = self._move("UPDATE unit SET state = 'uploading' WHERE token = ? AND state = 'finished'", (token,))
        return changed and self._mirror(token, state=UnitState.UPLOADING)

    def hand_back(self, items: Iterable[HandBack]) -> list[HandBack]:
        """Move HELD, or FINISHED and kept, -> RETURNING for every item, all or none; return those that moved."""
        with _Transaction(self._database):
            moved = [item for item in items if self._move(_HAND_BACK, _hand_back_values(item))]
        for item in moved:
            self._mirror(item.token, state=UnitState.RETURNING, hand_back=item)
        return moved

    def forget(self, tokens: Iterable[str]) -> None:
        """Delete units that the server has settled, in whatever state they are."""
        known = {token for token in tokens if token in self._units}
        if not known:
            return
        with _Transaction(self._database):
            self._database.executemany("DELETE FROM unit WHERE token = ?", [(token,) for token in known])
        for token in known:
            del self._units[token]

    def _move(self, statement: str, values: tuple[object, ...]) -> bool:
        return self._database.execute(statement, values).rowcount == 1

    def _mirror(self, token: str, **changes: object) -> bool:
        self._units[token] = replace(self._units[token], **changes)  # type: ignore[arg-type]
        return True

    def _insert(self, lease: Lease, now: float) -> Unit:
        cursor = self._database.execute(
            "INSERT INTO unit (token, state, contract, lease, boot_id, leased_at) VALUES (?, 'held', ?, ?, ?, ?)",
            (
                lease.token,
                dump_json(dump_contract(lease.contract)).decode(),
                dump_json(dump_lease(lease)).decode(),
                self._boot_id,
                now,
            ),
        )
        return Unit(
            sequence=cursor.lastrowid or 0,
            lease=lease,
            state=UnitState.HELD,
            leased_at=now,
            deadline_at=now + lease.deadline_seconds,
        )

    def _load(self) -> list[Unit]:
        rows = self._database.execute(
            "SELECT sequence, state, contract, lease, boot_id, leased_at, digest, output_bytes, cpu_seconds, token,"
            " sketch, kept_at, return_kind, return_reason, return_detail FROM unit ORDER BY sequence"
        )
        return [self._read(row) for row in rows.fetchall()]

    def _read(self, row: tuple[object, ...]) -> Unit:
        (
            sequence,
            state,
            contract,
            lease_text,
            boot_id,
            leased_at,
            digest,
            size,
            seconds,
            token,
            sketch,
            kept_at,
            *back,
        ) = row
        lease = read_lease(json.loads(str(lease_text)), {"contract": read_contract(json.loads(str(contract)))})
        began = float(str(leased_at))
        kind, reason, detail = back
        return Unit(
            sequence=int(str(sequence)),
            lease=lease,
            state=UnitState(str(state)),
            leased_at=began,
            # After a reboot the boot clock began anew. The server knows the deadline; the car asks it at each sync.
            deadline_at=began + lease.deadline_seconds if boot_id == self._boot_id else None,
            result=None
            if digest is None
            else Result(
                digest=str(digest),
                output_bytes=int(str(size)),
                cpu_seconds=float(str(seconds)),
                sketch=sketch if isinstance(sketch, bytes) else b"",
            ),
            kept_at=None if kept_at is None else float(str(kept_at)),
            hand_back=None
            if reason is None
            else HandBack(
                token=str(token),
                kind="error" if kind == "error" else "returned",
                reason=str(reason),
                detail=str(detail),
            ),
        )


def _hand_back_values(item: HandBack) -> tuple[object, ...]:
    return item.kind, item.reason, item.detail, item.token


class _Transaction:
    """One all-or-nothing transaction: SQLite in autocommit mode leaves BEGIN and COMMIT to us."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def __enter__(self) -> None:
        self._database.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *_: object) -> None:
        fail_point("journal_uncommitted")
        self._database.execute("ROLLBACK" if kind else "COMMIT")
