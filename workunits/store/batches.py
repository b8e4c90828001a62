"""Batches as the stages meet them: guarded moves, and how outputs are to be compared."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache

from workunits.domain.comparison import OutputSpec, read_output_specs
from workunits.domain.states import BatchStatus
from workunits.models import Batch
from workunits.store.board import BatchUnknown


def start_finalizing(batch_id: int, *, now: datetime) -> bool:
    """Move a batch whose units are all decided to `finalizing`; False where another worker did."""
    return bool(
        Batch.objects.filter(
            id=batch_id,
            status__in=[BatchStatus.IN_PROGRESS.value, BatchStatus.PAUSED.value],
            progress__units_open=0,
        ).update(status=BatchStatus.FINALIZING.value, finalizing_at=now, status_reason="")
    )


@lru_cache(maxsize=1024)
def get_comparison_specs(batch_id: int, comparison_class: str = "") -> tuple[OutputSpec, ...]:  # noqa: ARG001 - every class alike, so far
    """Return the comparator and tolerance of each output of the batch's model. Raises BatchUnknown."""
    outputs = Batch.objects.filter(id=batch_id).values_list("model__outputs", flat=True).first()
    if not outputs:
        raise BatchUnknown(f"there is no batch {batch_id}")
    return read_output_specs(outputs)
