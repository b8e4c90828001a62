"""What assembling reads, the canonical outputs of a batch in input order, and what it writes: the end of the batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final

from workunits.domain.assembly import ROW_STATUS, RowStatus, Segment
from workunits.domain.audits.levels import Finality
from workunits.domain.errors import FleetError
from workunits.domain.states import BatchOutcome, BatchStatus, UnitState
from workunits.domain.types import TensorSpec
from workunits.models import Batch, BatchProgress
from workunits.store.blobs import StoredBlob, get_blob_store, record_blobs
from workunits.store.db import fetch_all, fetch_one
from workunits.store.shards import REASON_CHARACTERS_MAX, read_tensor_specs

# Inline outputs are at most a few kilobytes each, so a page is a few megabytes.
UNITS_PER_PAGE: Final = 500


class UnitsChanged(FleetError):
    """Units changed while the result was being written: the files are not that result any more."""

    code: ClassVar[str] = "units_changed"
    retryable: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True, slots=True)
class ResultSource:
    """A batch whose results are to be written. `is_final`: none of its rows is provisional, or it does not wait."""

    batch_id: int
    status: str
    is_final: bool
    rows_total: int
    outputs: tuple[TensorSpec, ...]
    finalizing_at: datetime | None


def get_result_source(batch_id: int) -> ResultSource | None:
    """Return a batch's facts, or None where there is no such batch."""
    batch = Batch.objects.select_related("model", "progress").filter(id=batch_id).first()
    if batch is None:
        return None
    return ResultSource(
        batch_id=batch.id,
        status=batch.status,
        is_final=_is_final(batch.finality, batch.progress),
        rows_total=batch.rows_total,
        outputs=read_tensor_specs(batch.model.outputs),
        finalizing_at=batch.finalizing_at,
    )


def _is_final(finality: str, progress: BatchProgress) -> bool:
    return finality == Finality.PROVISIONAL or progress.rows_final == progress.rows_validated


def iter_unit_results(batch_id: int) -> Iterator[Segment]:
    """Yield the decided units in input order with their canonical outputs; open ones are left out.

    Outputs that are blobs are read one at a time. Raises BlobMissing.
    """
    store = get_blob_store()
    after = -1
    while page := fetch_all("assemble_read_units", {"batch_id": batch_id, "after": after, "units_max": UNITS_PER_PAGE}):
        for number, row_start, rows, state, output, blob, mark in page:
            after = number
            status = ROW_STATUS.get(UnitState(state))
            if status is RowStatus.OK:
                yield Segment(row_start, rows, status, bytes(output) if output is not None else store.read(blob), mark)
            elif status is not None:
                yield Segment(row_start, rows, status, None)


def finish_assembly(
    source: ResultSource,
    *,
    parquet: StoredBlob,
    npz: StoredBlob,
    outcome: BatchOutcome,
    units_ok: int,
    outputs_mark: int,
    now: datetime,
) -> bool:
    """Complete a finalizing batch with its result files; False where it does not finalize any more or waits for audits.

    Runs in the caller's transaction and locks the batch's progress, as verdicts do, then the batch and its units.
    Raises UnitsChanged where the results are not those that the files hold: `units_ok` units, and the marks of their
    outputs put together by exclusive or.
    """
    progress = BatchProgress.objects.select_for_update().get(batch_id=source.batch_id)
    if not _is_final(Batch.objects.values_list("finality", flat=True).get(id=source.batch_id), progress):
        return False
    updated = Batch.objects.filter(
        id=source.batch_id, status=BatchStatus.FINALIZING.value, finalizing_at=source.finalizing_at
    ).update(
        status=BatchStatus.COMPLETED.value,
        status_reason="",
        outcome=outcome.value,
        result_parquet=parquet.sha256,
        result_npz=npz.sha256,
        ended_at=now,
    )
    if not updated:
        return False
    units, mark = fetch_one("assemble_mark_units", {"batch_id": source.batch_id}) or (0, 0)
    if units != units_ok:
        raise UnitsChanged(f"The files hold {units_ok} units, {units} are validated.")
    if mark != outputs_mark:
        raise UnitsChanged("Other outputs are the results of some units now.")
    record_blobs([parquet, npz], now)
    return True


def note_assembly_problem(*, batch_id: int, reason: str) -> None:
    """Show on a finalizing batch why its result cannot be written."""
    Batch.objects.filter(id=batch_id, status=BatchStatus.FINALIZING.value).update(
        status_reason=reason[:REASON_CHARACTERS_MAX]
    )
