"""What a vehicle's work has earned."""

from __future__ import annotations

from datetime import datetime

from workunits.store.db import fetch_one


def get_gross(*, vehicle_id: int, since: datetime) -> int:
    """Return the microcredits of a vehicle's results that were accepted since then, whether settled yet or not."""
    row = fetch_one("sum_vehicle_earnings", {"vehicle_id": vehicle_id, "since": since})
    return int(row[0]) if row else 0
