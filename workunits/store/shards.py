"""What splitting reads of a batch, and what it writes: shards, units, and the batch's move to `in_progress`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from workunits.domain.states import BatchOutcome, BatchStatus
from workunits.domain.types import TensorSpec
from workunits.models import Batch, BatchProgress, Shard
from workunits.store.blobs import StoredBlob, record_blobs
from workunits.store.db import fetch_one
from workunits.store.unit_spool import UnitSpool

REASON_CHARACTERS_MAX = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitSource:
    """A queued batch: the dataset to cut, and what decides how."""

    batch_id: int
    quorum: int
    rows_total: int
    price_per_row_microcredits: int
    target_seconds: float
    flops_per_row: int
    batch_rows: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    dataset_sha256: str
    dataset_format: str


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenShard:
    """A shard whose blob is stored: rows `[row_start, row_end)` of the dataset."""

    blob: StoredBlob
    row_start: int
    row_end: int


def read_tensor_specs(tensors: Sequence[Mapping[str, Any]]) -> tuple[TensorSpec, ...]:
    """Return the specs in a model's `inputs` or `outputs` column."""
    return tuple(TensorSpec(name=t["name"], dtype=t["dtype"], shape=tuple(t["shape"])) for t in tensors)


def get_split_source(batch_id: int) -> SplitSource | None:
    """Return what to split, or None where the batch is unknown or not queued any more."""
    batch = (
        Batch.objects.select_related("model", "dataset").filter(id=batch_id, status=BatchStatus.QUEUED.value).first()
    )
    if batch is None:
        return None
    return SplitSource(
        batch_id=batch.id,
        quorum=batch.quorum,
        rows_total=batch.rows_total,
        price_per_row_microcredits=batch.price_per_row_microcredits,
        target_seconds=batch.unit_target_seconds,
        flops_per_row=batch.model.flops_per_row,
        batch_rows=batch.model.batch_rows,
        inputs=read_tensor_specs(batch.model.inputs),
        outputs=read_tensor_specs(batch.model.outputs),
        dataset_sha256=batch.dataset.blob_id,
        dataset_format=batch.dataset.format,
    )


def publish_split(
    *, batch_id: int, unit_rows: int, shards: Sequence[WrittenShard], spool: UnitSpool, now: datetime
) -> bool:
    """Write the shards and units of a queued batch and make it leasable; False where it is not queued any more.

    Runs in the caller's transaction: either all of it is seen or nothing. Locks the batch's row, so that of two
    workers that split one batch the second finds it done.
    """
    queued = Batch.objects.select_for_update(no_key=True).filter(id=batch_id, status=BatchStatus.QUEUED.value)
    if not queued.exists():
        return False
    record_blobs([shard.blob for shard in shards], now)
    Shard.objects.bulk_create(
        Shard(
            batch_id=batch_id,
            number=number,
            blob_sha256=shard.blob.sha256,
            size_bytes=shard.blob.size_bytes,
            row_start=shard.row_start,
            row_end=shard.row_end,
        )
        for number, shard in enumerate(shards)
    )
    spool.copy()
    BatchProgress.objects.update_or_create(batch_id=batch_id, defaults={"units_open": spool.units})
    lane = fetch_one("split_find_lane", {"batch_id": batch_id})
    Batch.objects.filter(id=batch_id).update(
        status=BatchStatus.IN_PROGRESS.value,
        status_reason="",
        started_at=now,
        lane=lane[0] if lane else -1,
        unit_rows=unit_rows,
        units_total=spool.units,
    )
    return True


def fail_queued_batch(*, batch_id: int, reason: str, now: datetime) -> bool:
    """End a batch that cannot be split; False where it is not queued any more."""
    return bool(
        Batch.objects.filter(id=batch_id, status=BatchStatus.QUEUED.value).update(
            status=BatchStatus.FAILED.value,
            outcome=BatchOutcome.NONE.value,
            status_reason=reason[:REASON_CHARACTERS_MAX],
            ended_at=now,
        )
    )
