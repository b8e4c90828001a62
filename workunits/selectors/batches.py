"""Batches as researchers see them: lists, live counts in rows, units without a trace of whose car ran them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from django.db.models import Count, Exists, OuterRef, QuerySet, Sum

from workunits.domain.states import BatchStatus, ReplicaState, UnitState
from workunits.models import Batch, BatchProgress, Replica, Unit

_ON_ITS_WAY = (ReplicaState.LEASED, ReplicaState.COMMITTED, ReplicaState.REPORTED)


@dataclass(frozen=True, kw_only=True, slots=True)
class RowCounts:
    """The rows of a batch by what became of them; the six parts always sum to `total`."""

    total: int
    pending: int
    running: int
    succeeded: int
    failed: int
    cancelled: int
    expired: int

    def as_dict(self) -> dict[str, int]:
        """Return the counts as the API shows them."""
        return asdict(self)


def list_batches(project_id: int) -> QuerySet[Batch]:
    """Return the project's batches with everything that their presentation reads."""
    return Batch.objects.filter(project_id=project_id).select_related("model", "dataset", "progress")


def count_rows(batch: Batch, *, with_running: bool = True) -> RowCounts:
    """Count the batch's rows by state, from its progress row; the running ones from its live replicas.

    The parts are read by two statements while cars work, so running rows are cut to what is left: the sum always holds.
    """
    progress: BatchProgress = batch.progress
    succeeded, failed = progress.rows_validated, progress.rows_failed
    ended = progress.rows_cancelled
    is_expired = batch.status == BatchStatus.EXPIRED
    left = max(0, batch.rows_total - succeeded - failed - ended)
    running = min(left, _count_running_rows(batch.pk)) if with_running and batch.ended_at is None else 0
    return RowCounts(
        total=batch.rows_total,
        pending=left - running,
        running=running,
        succeeded=succeeded,
        failed=failed,
        cancelled=0 if is_expired else ended,
        expired=ended if is_expired else 0,
    )


def _count_running_rows(batch_id: int) -> int:
    live = Replica.objects.filter(batch_id=batch_id, unit_number=OuterRef("number"), state__in=_ON_ITS_WAY)
    open_units = Unit.objects.filter(Exists(live), batch_id=batch_id, state=UnitState.OPEN)
    return open_units.aggregate(rows=Sum("rows"))["rows"] or 0


def list_units(batch_id: int) -> QuerySet[Unit]:
    """Return the units of a batch, in input order."""
    return Unit.objects.filter(batch_id=batch_id).order_by("number")


def count_replicas(batch_id: int, unit_numbers: list[int]) -> dict[int, dict[str, int]]:
    """Return for each of the units how many replicas are in which state."""
    rows = (
        Replica.objects.filter(batch_id=batch_id, unit_number__in=unit_numbers)
        .values_list("unit_number", "state")
        .annotate(count=Count("owner_id"))
    )
    counts: dict[int, dict[str, int]] = {number: {} for number in unit_numbers}
    for number, state, count in rows:
        counts[number][state] = count
    return counts


def list_replicas(batch_id: int, unit_number: int) -> list[dict[str, Any]]:
    """Return the replicas of a unit in the order of their leases, without car or owner."""
    replicas = Replica.objects.filter(batch_id=batch_id, unit_number=unit_number).order_by("leased_at", "owner_id")
    members = ("state", "attempt", "leased_at", "committed_at", "reported_at", "ended_at", "output_bytes", "reason")
    return list(replicas.values(*members))
