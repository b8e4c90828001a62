"""Batches as the stages meet them: guarded moves, and how outputs are to be compared."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from functools import reduce
from typing import Final

from django.db.models import F, Q

from workunits.domain.audits.levels import Finality
from workunits.domain.comparison import OutputSpec, read_output_specs
from workunits.domain.states import BatchStatus
from workunits.models import Batch
from workunits.store.board import BatchUnknown
from workunits.store.tolerances import get_tolerances

# All units are decided, and some rows are not final: audits may take long, and nothing is being written.
WAITS_FOR_AUDITS: Final = Q(
    status=BatchStatus.FINALIZING.value,
    finality=Finality.FINAL.value,
    progress__rows_final__lt=F("progress__rows_validated"),
)


def start_finalizing(batch_id: int, *, now: datetime) -> bool:
    """Move a batch whose units are all decided to `finalizing`; False where another worker did."""
    return bool(
        Batch.objects.filter(
            id=batch_id,
            status__in=[BatchStatus.IN_PROGRESS.value, BatchStatus.PAUSED.value],
            progress__units_open=0,
        ).update(status=BatchStatus.FINALIZING.value, finalizing_at=now, status_reason="")
    )


class SpecsBook:
    """How outputs of one batch are compared. What was read is remembered: use a new one for each drain."""

    def __init__(self, batch_id: int) -> None:
        self._batch_id = batch_id
        self._read: dict[str, tuple[OutputSpec, ...]] = {}

    def between(self, classes: Iterable[str]) -> tuple[OutputSpec, ...]:
        """Return how outputs of these comparison classes are compared: with the largest of their tolerances.

        Across classes the model's general tolerance counts as well: what holds within each says nothing of both.
        Raises BatchUnknown.
        """
        names = set(classes)
        names |= {""} if len(names) > 1 else set()
        return reduce(_widest, [self._of(name) for name in sorted(names)])

    def _of(self, comparison_class: str) -> tuple[OutputSpec, ...]:
        if comparison_class not in self._read:
            self._read[comparison_class] = get_comparison_specs(self._batch_id, comparison_class)
        return self._read[comparison_class]


def _widest(first: tuple[OutputSpec, ...], second: tuple[OutputSpec, ...]) -> tuple[OutputSpec, ...]:
    if first == second:
        return first
    return tuple(replace(a, tolerance=max(a.tolerance, b.tolerance)) for a, b in zip(first, second, strict=True))


def get_comparison_specs(batch_id: int, comparison_class: str = "") -> tuple[OutputSpec, ...]:
    """Return the comparator, options and calibrated tolerance of each output of the batch's model.

    Without a class: as outputs of different classes are compared. With one: as its outputs are, with each other.
    Raises BatchUnknown.
    """
    found = Batch.objects.filter(id=batch_id).values_list("model_id", "model__outputs").first()
    if not found or not found[1]:
        raise BatchUnknown(f"there is no batch {batch_id}")
    model_id, outputs = found
    tolerances = get_tolerances(model_id, comparison_class)
    return tuple(
        replace(spec, tolerance=tolerances.get(spec.name, spec.tolerance)) for spec in read_output_specs(outputs)
    )
