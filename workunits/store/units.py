"""Events of single units that no stage's own statement writes."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from workunits.store.db import execute

DETAIL_CHARS_MAX: Final = 300


def write_event(batch_id: int, unit_number: int, *, event: str, detail: str, at: datetime) -> None:
    """Write an event of a unit in the caller's transaction; the detail is cut to what its column takes."""
    execute(
        "write_unit_event",
        {
            "batch_id": batch_id,
            "unit_number": unit_number,
            "event": event,
            "detail": detail[:DETAIL_CHARS_MAX],
            "at": at,
        },
    )
