"""What resets mean for a vehicle: after a few of them it is always audited, after more it gets no work."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

RESETS_WINDOW: Final = timedelta(days=30)
RESETS_UNTIL_WATCHED: Final = 3
RESETS_UNTIL_QUARANTINE: Final = 5


class Standing(StrEnum):
    """Where a vehicle stands. An operator may lift a quarantine, on appeal or not."""

    NORMAL = "normal"
    WATCHED = "watched"  # every result is audited
    QUARANTINED = "quarantined"  # gets no work; its owner is told why and may appeal


def standing_after(resets: Sequence[datetime], now: datetime) -> Standing:
    """Return the standing that the resets of the last 30 days ask for."""
    recent = sum(1 for at in resets if now - at < RESETS_WINDOW)
    if recent >= RESETS_UNTIL_QUARANTINE:
        return Standing.QUARANTINED
    return Standing.WATCHED if recent >= RESETS_UNTIL_WATCHED else Standing.NORMAL
