"""Results whose bytes the server may still ask for: when each is offered again, and when they are too many or too old.

Every result of a re-run is one of these until its digest or its sketch has settled it. They are no work that is held:
they survive restarts, and the lease's own deadline, which is the server's to move.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from fleetclient.journal import Journal
from fleetclient.units import Unit, UnitState

# An offer of a kept result costs half a kilobyte and seldom changes anything.
OFFERED_EVERY_SYNCS: Final = 4
OFFERS_PER_SYNC_MAX: Final = 16
# The server forgets the lease by then.
SECONDS_MAX: Final = 48 * 3600.0
UNITS_MAX: Final = 256
BYTES_MAX: Final = 256 * 1024 * 1024


class Keeping:
    """Counts syncs, so that kept results take turns. After a restart all are offered as soon as there is room."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._sync = 0
        self._offered: dict[str, int] = {}

    def list_due(self) -> list[str]:
        """Return what to offer again in the next sync, what was offered longest ago first."""
        self._sync += 1
        kept = [unit.token for unit in list_kept(self._journal)]
        self._offered = {token: self._offered.get(token, -OFFERED_EVERY_SYNCS) for token in kept}
        due = [token for token, sync in self._offered.items() if self._sync - sync >= OFFERED_EVERY_SYNCS]
        due = sorted(due, key=self._offered.__getitem__)[:OFFERS_PER_SYNC_MAX]
        self.note_offered(due)
        return due

    def note_offered(self, tokens: Iterable[str]) -> None:
        """Let these wait for their next turn."""
        self._offered.update(dict.fromkeys(tokens, self._sync))

    def list_surplus(self, now_unix: float) -> list[tuple[Unit, str]]:
        """Return what is too old, and the oldest of what is too much, each with the reason in words."""
        surplus, kept_bytes = [], 0
        for place, unit in enumerate(sorted(list_kept(self._journal), key=_age_order)):
            kept_bytes += unit.result.output_bytes if unit.result else 0
            if now_unix - (unit.kept_at or 0.0) > SECONDS_MAX:
                surplus.append((unit, f"its output was kept for {SECONDS_MAX / 3600:.0f} h"))
            elif place >= UNITS_MAX or kept_bytes > BYTES_MAX:
                surplus.append((unit, "too many outputs are kept"))
        return surplus


def _age_order(unit: Unit) -> tuple[float, int]:
    """Sort what was kept last first."""
    return -(unit.kept_at or 0.0), -unit.sequence


def list_kept(journal: Journal) -> list[Unit]:
    """Return the results that the server has us keep, in the order in which they were leased."""
    return [unit for unit in journal.list_units(UnitState.FINISHED) if unit.kept_at is not None]
