"""Assemble: write a batch's result files.

In: a batch whose units are all decided and final, or that does not wait for audits. Out: one Parquet and one NPZ blob
with each input row exactly once, in order. Moves: unit VALIDATED -> ASSEMBLED; batch FINALIZING -> COMPLETED with its
outcome. The files are written first, by content; one guarded transaction then refers to them. A crash leaves the batch
finalizing, and the next run starts over; so does a result that changed meanwhile.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Final

from django.db import transaction

from workunits.domain.assembly import (
    RowsNotOnce,
    RowStatus,
    Segment,
    check_rows,
    choose_outcome,
    gather_blocks,
)
from workunits.domain.errors import FleetError
from workunits.domain.states import BatchStatus
from workunits.store.blobs import BlobMissing, StoredBlob, get_blob_store
from workunits.store.result_files import open_result
from workunits.store.results import (
    ResultSource,
    UnitsChanged,
    finish_assembly,
    get_result_source,
    iter_unit_results,
    note_assembly_problem,
)
from workunits.store.stage_claims import claim_stage

log = logging.getLogger(__name__)

FORMATS: Final = ("parquet", "npz")


class ResultUnknown(FleetError):
    """There is no such batch, or results are not written in this format."""

    code: ClassVar[str] = "result_unknown"


class _Tally:
    """Counts what passes by."""

    def __init__(self) -> None:
        self.rows_ok = 0
        self.units_ok = 0
        self.outputs_mark = 0

    def watch(self, segments: Iterable[Segment]) -> Iterator[Segment]:
        for segment in segments:
            if segment.status is RowStatus.OK:
                self.rows_ok += segment.rows
                self.units_ok += 1
                self.outputs_mark ^= segment.mark
            yield segment


def assemble_batch(*, batch_id: int, now: datetime) -> bool:
    """Write the results of a finalizing batch and complete it; False where there is nothing to do or it cannot be done.

    A batch whose rows are to be final stays finalizing as long as one is provisional. Safe to call twice or at once. A
    result that would miss or repeat a row is not finished: the batch stays finalizing and its `status_reason` says why.
    """
    try:
        with transaction.atomic():
            if not claim_stage(stage="assemble", batch_id=batch_id):
                return False
            source = get_result_source(batch_id)
            if source is None or source.status != BatchStatus.FINALIZING or not source.is_final:
                return False
            return _assemble(source, now)
    except (RowsNotOnce, UnitsChanged, BlobMissing) as problem:
        log.exception("batch %s cannot be assembled", batch_id)
        note_assembly_problem(batch_id=batch_id, reason=problem.detail)
        return False


def write_partial_result(*, batch_id: int, format: str, path: Path) -> int:  # noqa: A002
    """Write the rows decided so far to `path` in `parquet` or `npz`, and return how many there are.

    The rows of failed and cancelled units are in it with their status; rows that are still open are left out.
    """
    source = get_result_source(batch_id)
    if source is None or format not in FORMATS:
        raise ResultUnknown
    rows = 0
    with open_result(format, path, source.outputs) as writer:
        for block in gather_blocks(iter_unit_results(batch_id), source.outputs):
            writer.add(block)
            rows += len(block.row_numbers)
    return rows


def _assemble(source: ResultSource, now: datetime) -> bool:
    tally = _Tally()
    with tempfile.TemporaryDirectory(prefix="fleetcompute-result-") as folder:
        parquet, npz = _write_files(source, tally, Path(folder))
    return finish_assembly(
        source,
        parquet=parquet,
        npz=npz,
        outcome=choose_outcome(source.rows_total, tally.rows_ok),
        units_ok=tally.units_ok,
        outputs_mark=tally.outputs_mark,
        now=now,
    )


def _write_files(source: ResultSource, tally: _Tally, folder: Path) -> list[StoredBlob]:
    """Write both files in one pass over the outputs and store them."""
    paths = [folder / f"result.{file_format}" for file_format in FORMATS]
    segments = check_rows(tally.watch(iter_unit_results(source.batch_id)), source.rows_total)
    with ExitStack() as stack:
        writers = [
            stack.enter_context(open_result(file_format, path, source.outputs))
            for file_format, path in zip(FORMATS, paths, strict=True)
        ]
        for block in gather_blocks(segments, source.outputs):
            for writer in writers:
                writer.add(block)
    store = get_blob_store()
    return [store.put_file(path) for path in paths]
