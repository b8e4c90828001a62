"""The queue of units that operators' machines are to run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from workunits.models import AnchorRun
from workunits.store.db import execute

# An anchor that has work takes a run well within this time.
ALIVE_FOR: Final = timedelta(minutes=15)


class AnchorOrder(NamedTuple):
    """A unit to be run by an anchor, why, and for which audit, if for one."""

    batch_id: int
    unit_number: int
    reason: str
    audit_id: int | None = None


def order_runs(orders: Sequence[AnchorOrder], *, now: datetime) -> int:
    """Queue runs in the caller's transaction; return how many were not under way already."""
    return execute(
        "order_anchor_runs",
        {
            "batches": [order.batch_id for order in orders],
            "units": [order.unit_number for order in orders],
            "reasons": [order.reason for order in orders],
            "audits": [order.audit_id for order in orders],
            "now": now,
        },
    )


def is_anchor_alive(now: datetime) -> bool:
    """Return whether an anchor took a run lately."""
    return AnchorRun.objects.filter(claimed_at__gt=now - ALIVE_FOR).exists()
