"""One key in two cars: how a copied installation shows itself.

Every process of the client has a mark of its own, never used again after it ends. A car that restarts, is reinstalled
or restored from a backup shows a new mark and never an old one. A mark that comes back after another one was seen can
only mean that two processes hold the key at the same time: A, B, A. The order of syncs is certain, since each carries a
greater counter than the one before.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

MARKS_KEPT = 8
# A mark that comes back later than this after the last change is not held against the car.
ALTERNATION_WINDOW = timedelta(days=7)
# A suspicion that nothing has renewed for so long is over: the copy is gone.
SUSPICION_LASTS = timedelta(days=7)


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessMarks:
    """The marks that were seen, the present one first, and when it took over."""

    marks: tuple[str, ...] = ()
    changed_at: datetime | None = None


def note_mark(seen: ProcessMarks, mark: str, now: datetime) -> tuple[ProcessMarks, bool]:
    """Return the marks after a sync of this process, and whether it shows that two processes use the key.

    An old client has no mark (empty): it changes nothing.
    """
    if not mark or seen.marks[:1] == (mark,):
        return seen, False
    is_back = mark in seen.marks and seen.changed_at is not None and now - seen.changed_at <= ALTERNATION_WINDOW
    others = tuple(other for other in seen.marks if other != mark)
    return ProcessMarks(marks=(mark, *others)[:MARKS_KEPT], changed_at=now), is_back


def is_suspected(suspected_at: datetime | None, now: datetime) -> bool:
    """Return whether a suspicion still stands."""
    return suspected_at is not None and now - suspected_at < SUSPICION_LASTS
