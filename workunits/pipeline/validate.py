"""Validate: decide work units from what different owners' cars returned.

In: units queued for review. Moves: replica REPORTED -> VALID, INVALID or INCONCLUSIVE, COMMITTED -> VALID (a re-run
that agrees), LEASED/COMMITTED -> CANCELLED; unit OPEN -> VALIDATED or FAILED, or asked for again; audit, opened or
-> PASSED. Verdict and earning item share a statement (`apply_verdicts`). A drain belongs to one batch, whose progress
row it holds, so that the verdicts of a batch follow each other.
"""

from __future__ import annotations

from datetime import datetime

from workunits.domain.errors import carry_on
from workunits.pipeline.drain import drain_batch
from workunits.store.verdicts import list_batches_to_review

# Full drains of one batch in one call; the rest is left to the next nudge, so that no batch keeps others waiting.
DRAINS_MAX = 20


def validate_ready(*, now: datetime) -> bool:
    """Drain every batch that has something to review; return whether one of them has all units decided.

    What is reported meanwhile is left to the next nudge: verdicts cost three times as much in handfuls as in hundreds.
    """
    return any(carry_on(list_batches_to_review(), lambda batch_id: _drain(batch_id, now)))


def _drain(batch_id: int, now: datetime) -> bool:
    finished = False
    for _ in range(DRAINS_MAX):
        has_more, is_finished = drain_batch(batch_id=batch_id, now=now)
        finished = finished or is_finished
        if not has_more:
            break
    return finished
