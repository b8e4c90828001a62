"""Intake: what researchers bring and ask for.

In: a model or dataset file, or the order to run one over the other. Out: rows that later stages may trust; a refused
file stores nothing, neither row nor blob. Moves: batch (new) -> QUEUED, IN_PROGRESS <-> PAUSED, any
running one -> CANCELLING (recover does the rest).
"""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Final

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from workunits.domain.audits.levels import (
    ADVERSARIAL_SHARE_DEFAULT,
    CRITICAL_QUORUM,
    Finality,
    VerificationLevel,
)
from workunits.domain.columns import find_misfits
from workunits.domain.comparison import read_output_specs
from workunits.domain.errors import FleetError
from workunits.domain.pricing import price_per_row
from workunits.domain.sketch import describe_comparison
from workunits.domain.states import BatchStatus
from workunits.domain.types import TensorSpec
from workunits.models import Batch, BatchProgress, Dataset, OnnxModel
from workunits.sandbox.admit import admit
from workunits.sandbox.report import AdmissionRequest
from workunits.store.admissions import request_admission
from workunits.store.batches import WAITS_FOR_AUDITS
from workunits.store.blobs import get_blob_store, record_blob
from workunits.store.datasets import DatasetRefused, read_dataset_facts
from workunits.store.tolerances import record_tolerances

BATCH_ROWS_DEFAULT: Final = 16
BATCH_ROWS_MAX: Final = 1024
DATASET_BYTES_MAX: Final = 8 * 1024**3
QUORUM_DEFAULT: Final = 2
QUORUM_MAX: Final = 5
PRIORITY_MAX: Final = 100
# Nobody can assume less: a bound of nothing would be a guarantee.
ADVERSARIAL_SHARE_MIN: Final = 1e-4
UNIT_TARGET_SECONDS_MAX: Final = 3600.0
# What the dry run used, times this, is what a car may use: cars differ, and zeros are easy rows.
LIMIT_FACTOR: Final = 3
# A slow car takes this much longer than the reference car; below a minute the runner's own start dominates.
SLOW_CAR_FACTOR: Final = 10
RUN_SECONDS_MIN: Final = 60
# A car is told as well how an output is compared, for its sketch; the tolerance is none of its business.
CONTRACT_OUTPUT_MEMBERS: Final = ("name", "dtype", "shape")


class ModelUnknown(FleetError):
    """This project has no such model."""

    code: ClassVar[str] = "model_unknown"


class DatasetUnknown(FleetError):
    """This project has no such dataset."""

    code: ClassVar[str] = "dataset_unknown"


class BatchUnknown(FleetError):
    """This project has no such batch."""

    code: ClassVar[str] = "batch_unknown"


class DatasetMismatch(FleetError):
    """The dataset lacks a column that the model needs, or has it with another type or shape."""

    code: ClassVar[str] = "dataset_mismatch"


class BatchOptionInvalid(FleetError):
    """An option of the batch is outside its range."""

    code: ClassVar[str] = "invalid_request"


class BatchStateConflict(FleetError):
    """The batch is in a state that does not allow this."""

    code: ClassVar[str] = "batch_state_conflict"


def admit_model(
    *,
    project_id: int,
    name: str,
    path: Path,
    fixed_dims: dict[str, int] | None = None,
    batch_rows: int = BATCH_ROWS_DEFAULT,
    outputs_override: list[dict[str, Any]] | None = None,
    now: datetime,
) -> OnnxModel:
    """Examine the model file in the sandbox, store it, and ask the admission service to let cars run it.

    Takes seconds, in no transaction. Raises ModelRefused.
    """
    request = AdmissionRequest(fixed_dims=fixed_dims or {}, batch_rows=batch_rows, outputs=outputs_override)
    facts = admit(path, request)
    stored = get_blob_store().put_file(path)
    with transaction.atomic():
        record_blob(stored, now)
        model = OnnxModel.objects.create(
            project_id=project_id,
            name=name,
            blob_id=stored.sha256,
            opset=facts.opset,
            operators=facts.operators,
            inputs=facts.inputs,
            outputs=facts.outputs,
            batch_rows=facts.batch_rows,
            flops_per_row=facts.flops_per_row,
            memory_bytes=facts.memory_bytes,
            created_at=now,
        )
        stated = {"fixed_dims": request.fixed_dims, "batch_rows": request.batch_rows, "outputs": request.outputs}
        request_admission(model, request=stated, now=now)
        record_tolerances(model.pk, facts.tolerances, now=now)
        return model


def register_dataset(*, project_id: int, name: str, format: str, path: Path, now: datetime) -> Dataset:  # noqa: A002
    """Check that every column can be read, then store the file. Raises DatasetRefused naming file, column and row."""
    facts = read_dataset_facts(path, format)
    for column in facts.columns:
        if not column.name.isprintable():  # PostgreSQL's JSON cannot hold every character
            raise DatasetRefused(f"Column {column.name!r} has a name that is not printable.", column=column.name)
    stored = get_blob_store().put_file(path)
    with transaction.atomic():
        record_blob(stored, now)
        return Dataset.objects.create(
            project_id=project_id,
            name=name,
            format=format,
            blob_id=stored.sha256,
            rows=facts.rows,
            columns=[
                {"name": column.name, "dtype": column.dtype, "shape": list(column.shape)} for column in facts.columns
            ],
            created_at=now,
        )


def submit_batch(
    *,
    project_id: int,
    model_public_id: str,
    dataset_public_id: str,
    level: VerificationLevel = VerificationLevel.QUORUM,
    quorum: int = QUORUM_DEFAULT,
    finality: Finality = Finality.FINAL,
    adversarial_share: float = ADVERSARIAL_SHARE_DEFAULT,
    priority: int = 0,
    unit_target_seconds: float | None = None,
    metadata: dict[str, str] | None = None,
    now: datetime,
) -> Batch:
    """Queue a batch and its progress row. Raises ModelUnknown, DatasetUnknown, DatasetMismatch or BatchOptionInvalid.

    `quorum` counts at the level of that name only; the others bring their own. The caller nudges the split once its
    transaction has committed.
    """
    target_seconds = settings.FLEET.unit_target_seconds if unit_target_seconds is None else unit_target_seconds
    _check_options(
        quorum=quorum, priority=priority, unit_target_seconds=target_seconds, adversarial_share=adversarial_share
    )
    model = OnnxModel.objects.filter(project_id=project_id, public_id=model_public_id).select_related("blob").first()
    if model is None:
        raise ModelUnknown(
            f"There is no model {model_public_id!r} in this project.",
            errors=[{"pointer": "/model", "detail": "no such model"}],
        )
    dataset = Dataset.objects.filter(project_id=project_id, public_id=dataset_public_id).first()
    if dataset is None:
        raise DatasetUnknown(
            f"There is no dataset {dataset_public_id!r} in this project.",
            errors=[{"pointer": "/dataset", "detail": "no such dataset"}],
        )
    _check_columns(model, dataset)
    with transaction.atomic():
        batch = Batch.objects.create(
            project_id=project_id,
            model=model,
            dataset=dataset,
            status=BatchStatus.QUEUED,
            level=level.value,
            quorum=_quorum_of(level, quorum),
            finality=finality.value,
            adversarial_share=adversarial_share,
            priority=priority,
            contract=build_contract(model, unit_target_seconds=target_seconds),
            memory_bytes=model.memory_bytes,
            opset=model.opset,
            unit_target_seconds=target_seconds,
            price_per_row_microcredits=price_per_row(model.flops_per_row, settings.FLEET.microcredits_per_gflop),
            rows_total=dataset.rows,
            metadata=metadata or {},
            created_at=now,
        )
        BatchProgress.objects.create(batch=batch)
    return batch


def pause_batch(*, project_id: int, batch_public_id: str) -> Batch:
    """Stop leasing units of a batch; what is leased goes on. Pausing again changes nothing. Raises BatchStateConflict.

    A queued batch cannot be paused: it has no units yet, and a paused batch without open units counts as done.
    """
    moves_from = (BatchStatus.IN_PROGRESS,)
    return _move(project_id, batch_public_id, moves_from, BatchStatus.PAUSED, accepted=(BatchStatus.PAUSED,))


def resume_batch(*, project_id: int, batch_public_id: str) -> Batch:
    """Lease units again. Resuming a batch that runs changes nothing. Raises BatchStateConflict."""
    moves_from = (BatchStatus.PAUSED,)
    return _move(project_id, batch_public_id, moves_from, BatchStatus.IN_PROGRESS, accepted=(BatchStatus.IN_PROGRESS,))


def cancel_batch(*, project_id: int, batch_public_id: str) -> Batch:
    """Ask for the end of a batch; rows that are done stay. Again changes nothing. Raises BatchStateConflict.

    One that is finalizing can be ended while it waits for audits, for that may take long; not while files are written.
    """
    running = (BatchStatus.VALIDATING, BatchStatus.QUEUED, BatchStatus.IN_PROGRESS, BatchStatus.PAUSED)
    accepted = (BatchStatus.CANCELLING, BatchStatus.CANCELLED)
    return _move(
        project_id, batch_public_id, running, BatchStatus.CANCELLING, accepted=accepted, or_where=WAITS_FOR_AUDITS
    )


def build_contract(model: OnnxModel, *, unit_target_seconds: float) -> dict[str, Any]:
    """Return what a car is told of the work, in the wire's form (docs/reference/vehicle-wire.md)."""
    policy = settings.FLEET
    run_seconds = max(RUN_SECONDS_MIN, math.ceil(SLOW_CAR_FACTOR * unit_target_seconds))
    return {
        "model": {"sha256": model.blob_id, "bytes": model.blob.size_bytes},
        "inputs": model.inputs,
        "outputs": [
            {name: output[name] for name in CONTRACT_OUTPUT_MEMBERS} | describe_comparison(spec)
            for output, spec in zip(model.outputs, read_output_specs(model.outputs), strict=True)
        ],
        "batch_rows": model.batch_rows,
        "limits": {
            "memory_bytes": LIMIT_FACTOR * model.memory_bytes,
            "seconds": min(run_seconds, math.ceil(policy.lease_seconds)),
            "output_bytes_max": policy.unit_output_bytes_max,
            "inline_bytes_max": policy.inline_output_bytes_max,
        },
        "session": {"graph_optimization": "all", "intra_op_threads": 1},
    }


def _quorum_of(level: VerificationLevel, quorum: int) -> int:
    """Return how many outputs have to agree before a unit has its result."""
    if level is VerificationLevel.QUORUM:
        return quorum
    return CRITICAL_QUORUM if level is VerificationLevel.CRITICAL else 1


def _check_options(*, quorum: int, priority: int, unit_target_seconds: float, adversarial_share: float) -> None:
    ranges = {
        "quorum": (quorum, 1, QUORUM_MAX),
        "assumed_adversarial_share": (adversarial_share, ADVERSARIAL_SHARE_MIN, 1.0),
        "priority": (priority, -PRIORITY_MAX, PRIORITY_MAX),
        "unit_target_seconds": (unit_target_seconds, 0.01, UNIT_TARGET_SECONDS_MAX),
    }
    for name, (value, low, high) in ranges.items():
        if not low <= value <= high:
            detail = f"{name} must be {low} to {high}, not {value}."
            raise BatchOptionInvalid(detail, errors=[{"pointer": f"/{name}", "detail": detail}])


def _check_columns(model: OnnxModel, dataset: Dataset) -> None:
    """Refuse a dataset whose columns cannot feed every input of the model; raise DatasetMismatch with each misfit."""
    misfits = find_misfits(_specs(dataset.columns), _specs(model.inputs))
    if misfits:
        where = f"model {model.public_id}, dataset {dataset.public_id}"
        errors = [{"code": "column_mismatch", "where": where, "detail": sentence} for sentence in misfits]
        raise DatasetMismatch(
            f"Dataset {dataset.name!r} does not fit model {model.name!r}: {misfits[0]}", errors=errors
        )


def _specs(described: list[dict[str, Any]]) -> list[TensorSpec]:
    return [TensorSpec(name=item["name"], dtype=item["dtype"], shape=tuple(item["shape"])) for item in described]


def _get_batch(project_id: int, batch_public_id: str) -> Batch:
    batch = Batch.objects.filter(project_id=project_id, public_id=batch_public_id).first()
    if batch is None:
        raise BatchUnknown(f"There is no batch {batch_public_id!r} in this project.")
    return batch


def _move(
    project_id: int,
    batch_public_id: str,
    moves_from: tuple[BatchStatus, ...],
    target: BatchStatus,
    *,
    accepted: tuple[BatchStatus, ...],
    or_where: Q | None = None,
) -> Batch:
    """Move the batch by one guarded update; a state in `accepted` already is what was asked for."""
    batch = _get_batch(project_id, batch_public_id)
    guard = Q(status__in=moves_from) | (or_where or Q(pk=None))
    moved = Batch.objects.filter(guard, pk=batch.pk).update(status=target)
    batch.refresh_from_db()
    if not moved and batch.status not in accepted:
        raise BatchStateConflict(f"The batch is {batch.status}; it cannot become {target}.")
    return batch
