"""Batches as researchers see them: lists, live counts in rows, units without a trace of whose car ran them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Sum

from workunits.domain.replicas import ReplicaRole
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


def list_member_batches(user_id: int) -> QuerySet[Batch]:
    """Return the batches of every project that the user is a member of, newest first."""
    batches = Batch.objects.filter(project__members=user_id).select_related("project", "model", "dataset", "progress")
    return batches.order_by("-id")


def count_rows(batch: Batch, running_rows: int) -> RowCounts:
    """Count the batch's rows by state, from its progress row and what `count_running_rows` found.

    The two are read by two statements while cars work, so running rows are cut to what is left: the sum always holds.
    """
    progress: BatchProgress = batch.progress
    succeeded, failed, ended = progress.rows_validated, progress.rows_failed, progress.rows_cancelled
    is_expired = batch.status == BatchStatus.EXPIRED
    left = max(0, batch.rows_total - succeeded - failed - ended)
    running = min(left, running_rows)
    return RowCounts(
        total=batch.rows_total,
        pending=left - running,
        running=running,
        succeeded=succeeded,
        failed=failed,
        cancelled=0 if is_expired else ended,
        expired=ended if is_expired else 0,
    )


def count_running_rows(batches: Sequence[Batch]) -> dict[int, int]:
    """Return for each batch the rows of its open units that a car works on or has reported; one statement for all."""
    running = [batch.pk for batch in batches if batch.ended_at is None]
    counts = dict.fromkeys((batch.pk for batch in batches), 0)
    if running:
        live = Replica.objects.filter(
            batch_id=OuterRef("batch_id"), unit_number=OuterRef("number"), state__in=_ON_ITS_WAY
        )
        units = Unit.objects.filter(Exists(live), batch_id__in=running, state=UnitState.OPEN)
        counts.update(units.order_by().values_list("batch_id").annotate(Sum("rows")))
    return counts


def list_units(batch_id: int) -> QuerySet[Unit]:
    """Return the units of a batch, in input order."""
    return Unit.objects.filter(batch_id=batch_id).order_by("number")


def count_replicas(batch_id: int, units: Sequence[Unit]) -> dict[int, dict[str, int]]:
    """Return for each of the units how many replicas are in which state."""
    rows = _list_shown(batch_id, units).values_list("unit_number", "state").annotate(count=Count("owner_id"))
    counts: dict[int, dict[str, int]] = {unit.number: {} for unit in units}
    for number, state, count in rows:
        counts[number][state] = count
    return counts


def list_replicas(batch_id: int, unit: Unit) -> list[dict[str, Any]]:
    """Return the replicas of a unit in the order of their leases, without car or owner."""
    members = ("state", "attempt", "leased_at", "committed_at", "reported_at", "ended_at", "output_bytes", "reason")
    return list(_list_shown(batch_id, [unit]).order_by("leased_at", "owner_id").values(*members))


def _list_shown(batch_id: int, units: Sequence[Unit]) -> QuerySet[Replica]:
    """Return the units' replicas; re-runs only of units that are final.

    Whoever could see a re-run under way could tell a car that it audits, and hand it the result that it is to check.
    """
    final = [unit.number for unit in units if unit.final_at is not None]
    replicas = Replica.objects.filter(batch_id=batch_id, unit_number__in=[unit.number for unit in units])
    return replicas.filter(Q(role=ReplicaRole.PRIMARY) | Q(unit_number__in=final))
