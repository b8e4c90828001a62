"""Split: cut a batch's dataset into work units.

In: a queued batch whose model the admission service has signed. Out: shard blobs, shard and unit rows. Moves: batch
QUEUED -> IN_PROGRESS, or FAILED where its dataset cannot be read or its model was refused. The blobs are written first,
by content, before any row; the transaction then shows all rows at once. So a crash at any point leaves nothing but
blobs, and the next run writes those again for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import ClassVar, Final

from django.conf import settings
from django.db import transaction

from workunits.domain.errors import FleetError
from workunits.domain.packing import pack_shard
from workunits.domain.splitting import (
    UNITS_MAX,
    RowCost,
    UnitLimits,
    choose_shard_units,
    choose_unit_rows,
    count_units,
)
from workunits.domain.tensors import HEADER_BYTES_MAX, document_bytes
from workunits.models import ModelAdmission
from workunits.store.admissions import get_admission, note_awaiting
from workunits.store.blobs import BlobMissing, get_blob_store
from workunits.store.datasets import DatasetRefused, iter_row_blocks
from workunits.store.shards import SplitSource, WrittenShard, fail_queued_batch, get_split_source, publish_split
from workunits.store.stage_claims import claim_stage
from workunits.store.unit_spool import UnitSpool

# What a researcher sees of a batch whose model is still being examined.
AWAITING_ADMISSION: Final = "awaiting_admission"


class SplitRefused(FleetError):
    """The batch cannot be cut into a sensible number of units."""

    code: ClassVar[str] = "split_refused"


def split_batch(*, batch_id: int, now: datetime) -> bool:
    """Split a queued batch and make its units leasable; False where there was nothing to do or it failed.

    Safe to call twice or at once: one worker splits, the others find it taken or done.
    """
    with transaction.atomic():
        if not claim_stage(stage="split", batch_id=batch_id):
            return False
        source = get_split_source(batch_id)
        return source is not None and _is_admitted(batch_id, now) and _split(source, now)


def _is_admitted(batch_id: int, now: datetime) -> bool:
    """Whether cars may run the batch's model; a batch waits for that, and fails where they never may."""
    if not settings.FLEET_ADMISSION_REQUIRED:
        return True
    state, reason = get_admission(batch_id)
    if state == ModelAdmission.State.REQUESTED:
        note_awaiting(batch_id, reason=AWAITING_ADMISSION)
    elif state != ModelAdmission.State.SIGNED:
        fail_queued_batch(batch_id=batch_id, reason=f"The model was not admitted: {reason}", now=now)
    return state == ModelAdmission.State.SIGNED


def _split(source: SplitSource, now: datetime) -> bool:
    spool = UnitSpool(
        batch_id=source.batch_id, quorum=source.quorum, price_per_row_microcredits=source.price_per_row_microcredits
    )
    with spool:
        try:
            unit_rows = _choose_rows(source)
            shards = list(_write_shards(source, unit_rows, spool))
        except (DatasetRefused, BlobMissing, SplitRefused) as refusal:
            fail_queued_batch(batch_id=source.batch_id, reason=refusal.detail, now=now)
            return False
        return publish_split(batch_id=source.batch_id, unit_rows=unit_rows, shards=shards, spool=spool, now=now)


def _choose_rows(source: SplitSource) -> int:
    policy = settings.FLEET
    unit_rows = choose_unit_rows(
        rows_total=source.rows_total,
        cost=RowCost(
            flops=source.flops_per_row,
            input_bytes=sum(spec.bytes_per_row for spec in source.inputs),
            output_bytes=sum(spec.bytes_per_row for spec in source.outputs),
        ),
        car_flops_per_second=policy.reference_car_flops_per_second,
        target_seconds=source.target_seconds,
        batch_rows=source.batch_rows,
        limits=UnitLimits(
            rows_max=policy.unit_rows_max,
            input_bytes_max=policy.unit_input_bytes_max - HEADER_BYTES_MAX,
            output_bytes_max=policy.unit_output_bytes_max - HEADER_BYTES_MAX,
        ),
    )
    units = count_units(source.rows_total, unit_rows)
    if units > UNITS_MAX:
        raise SplitRefused(f"The batch would have {units} work units; at most {UNITS_MAX} are allowed.")
    return unit_rows


def _write_shards(source: SplitSource, unit_rows: int, spool: UnitSpool) -> Iterator[WrittenShard]:
    """Store the dataset's shards one after the other, adding their units to the spool.

    One block of rows is one shard, so memory holds two or three shards however long the dataset is.
    """
    store = get_blob_store()
    unit_bytes = document_bytes(source.inputs, unit_rows)
    block_rows = unit_rows * choose_shard_units(unit_bytes, settings.FLEET.shard_bytes_target)
    with store.local_path(source.dataset_sha256) as path:
        blocks = iter_row_blocks(path, source.dataset_format, source.inputs, block_rows)
        for number, block in enumerate(blocks):
            row_start = spool.rows
            shard = pack_shard(block, source.inputs, unit_rows)
            spool.add(number, shard)
            yield WrittenShard(blob=store.put_bytes(shard.data), row_start=row_start, row_end=spool.rows)
    if spool.rows != source.rows_total:
        raise DatasetRefused(f"The dataset has {spool.rows} rows, {source.rows_total} were announced.")
