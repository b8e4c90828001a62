"""Results that are taken back, batch by batch: the rows, and what becomes of their batch and of its files."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from django.db.models import F

from workunits.domain.states import BATCH_TERMINAL, BatchOutcome, BatchStatus, UnitState
from workunits.models import Batch, BatchNotice, BatchProgress
from workunits.store.db import fetch_all, fetch_one
from workunits.store.verdicts import BatchTurn

# Of these nobody runs a unit any more.
ENDED = tuple(status for status in BATCH_TERMINAL if status != BatchStatus.COMPLETED)
REVOKED_CODE = "rows_revoked"


class TakenBack(NamedTuple):
    """Units and rows that lost their result, and how many of the units were in a finished file."""

    units: int
    rows: int
    units_assembled: int


def list_batches_to_revoke() -> list[int]:
    """Return the batches with results that are to be taken back, by id."""
    return [batch_id for (batch_id,) in fetch_all("list_batches_to_revoke", {})]


def lock_batch(turn: BatchTurn) -> Batch:
    """Lock the row of a batch whose verdict lock is held: no result file is completed meanwhile."""
    return Batch.objects.select_for_update(no_key=True).get(id=turn.batch_id)


def take_back(turn: BatchTurn, batch: Batch, *, units_max: int, now: datetime) -> TakenBack | None:
    """Take back the results of the next units that are queued; None where there are none. Runs in a transaction."""
    units = [number for (number,) in fetch_all("lock_revoked_units", {"batch_id": batch.id, "units_max": units_max})]
    if not units:
        return None
    row = fetch_one(
        "take_back_results",
        {
            "batch_id": batch.id,
            "verdict_number": turn.verdict_number + 1,
            "units": units,
            "state": (UnitState.CANCELLED if batch.status in ENDED else UnitState.OPEN).value,
            "now": now,
        },
    )
    return None if row is None else TakenBack._make(row)


def reopen_batch(batch: Batch, taken: TakenBack, *, now: datetime) -> None:
    """Let a batch run again whose rows lost their results, and tell its researcher."""
    if not taken.units:
        return
    is_complete = batch.status == BatchStatus.COMPLETED
    rows = "1 row was" if taken.rows == 1 else f"{taken.rows} rows were"
    text = f"{rows} taken back after a failed audit, to be run again"
    if batch.status in (BatchStatus.FINALIZING, BatchStatus.COMPLETED):
        batch.status, batch.status_reason = BatchStatus.IN_PROGRESS.value, text
        batch.finalizing_at = batch.ended_at = batch.outcome = None
    elif batch.status in ENDED:
        text = f"{rows} taken back after a failed audit"
        has_rows = BatchProgress.objects.filter(batch_id=batch.id, rows_validated__gt=0).exists()
        batch.outcome = (BatchOutcome.PARTIAL if has_rows else BatchOutcome.NONE).value
    if is_complete:
        text = f"{text}; the result files will be written anew"
        batch.result_revision = F("result_revision") + 1
        batch.result_parquet = batch.result_npz = ""
    elif batch.status not in ENDED:
        text = f"{text}; a partial file from before may hold what was taken back"
    batch.save(
        update_fields=[
            "status", "status_reason", "finalizing_at", "ended_at", "outcome", "result_revision", "result_parquet",
            "result_npz",
        ]
    )  # fmt: skip
    BatchNotice.objects.create(batch_id=batch.id, at=now, code=REVOKED_CODE, text=text)
