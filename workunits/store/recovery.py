"""What the sweep reads and writes: overdue leases, batches to cancel, work that a lost nudge left behind."""

from __future__ import annotations

from datetime import datetime

from django.db.models import F, Q

from workunits.domain.audits.levels import Finality
from workunits.domain.states import BatchOutcome, BatchStatus
from workunits.models import AnchorRun, Batch, BatchProgress, DevicePairing
from workunits.store.db import fetch_one


def expire_leases(*, now: datetime, audits_from: datetime, vehicles_max: int) -> int:
    """End the overdue leases of up to `vehicles_max` cars; return how many leases ended.

    Whoever let an audit lapse gets none before `audits_from`.
    """
    parameters = {"now": now, "audits_from": audits_from, "vehicles_max": vehicles_max}
    row = fetch_one("expire_leases", parameters)
    return 0 if row is None else int(row[0])


def forget_pairings(*, expired_before: datetime) -> int:
    """Remove pairings that came to nothing and expired before a moment; return how many."""
    old = DevicePairing.objects.filter(vehicle=None, expires_at__lt=expired_before)
    return int(old.delete()[0])


def list_batch_ids(status: BatchStatus) -> list[int]:
    """Return the batches in a status, oldest first."""
    return list(Batch.objects.filter(status=status.value).order_by("id").values_list("id", flat=True))


def list_batches_to_assemble() -> list[int]:
    """Return the finalizing batches whose rows are all final, and those that do not wait for that, oldest first."""
    finalizing = Batch.objects.filter(status=BatchStatus.FINALIZING.value)
    ready = finalizing.filter(
        Q(finality=Finality.PROVISIONAL.value) | Q(progress__rows_final=F("progress__rows_validated"))
    )
    return list(ready.order_by("id").values_list("id", flat=True))


def list_undrained_batch_ids() -> list[int]:
    """Return the running batches whose units are all decided although they are not finalizing yet."""
    running = [BatchStatus.IN_PROGRESS.value, BatchStatus.PAUSED.value]
    return list(
        Batch.objects.filter(status__in=running, units_total__gt=0, progress__units_open=0).values_list("id", flat=True)
    )


def has_waiting_anchor_runs() -> bool:
    """Return whether a unit waits for an anchor."""
    return AnchorRun.objects.filter(state=AnchorRun.State.WAITING.value).exists()


def cancel_open_units(batch_id: int, *, reason: str, now: datetime, units_max: int) -> int:
    """End up to `units_max` open units of the batch; return how many are still open. Holds the verdict lock."""
    row = fetch_one("cancel_open_units", {"batch_id": batch_id, "reason": reason, "now": now, "units_max": units_max})
    return 0 if row is None else int(row[0])


def finish_cancelled(batch_id: int, *, now: datetime) -> bool:
    """Move a batch whose open units are all ended to `cancelled`; its validated rows stay readable."""
    progress = BatchProgress.objects.get(batch_id=batch_id)
    outcome = BatchOutcome.PARTIAL if progress.rows_validated else BatchOutcome.NONE
    return bool(
        Batch.objects.filter(id=batch_id, status=BatchStatus.CANCELLING.value).update(
            status=BatchStatus.CANCELLED.value, outcome=outcome.value, ended_at=now
        )
    )
