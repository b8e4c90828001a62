"""Rows that splitting and assembling start from: a project with a model, a dataset in the blob store, a batch."""

from __future__ import annotations

import datetime as dt
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from workunits.domain.types import DTYPE_BYTES
from workunits.models import Batch, BatchProgress, Blob, Dataset, OnnxModel, Project
from workunits.store.blobs import get_blob_store, record_blob

NOW = dt.datetime(2026, 11, 24, 12, 0, tzinfo=dt.UTC)
DTYPES = {np.dtype("f4"): "F32", np.dtype("f8"): "F64", np.dtype("i8"): "I64", np.dtype("i4"): "I32"}
_numbers = itertools.count(1)


def spec(name: str, dtype: str = "F32", shape: tuple[int, ...] = (), **judged: Any) -> dict[str, Any]:
    assert dtype in DTYPE_BYTES
    return {"name": name, "dtype": dtype, "shape": list(shape), **judged}


def output(name: str, dtype: str = "F32", shape: tuple[int, ...] = ()) -> dict[str, Any]:
    comparator, tolerance = ("dense", 1e-4) if dtype.startswith("F") else ("exact", 0)
    return spec(name, dtype, shape, comparator=comparator, tolerance=tolerance)


def write_npz(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]  # its keywords are arrays
    return path


def write_parquet(path: Path, table: pa.Table, **options: Any) -> Path:
    pq.write_table(table, path, **options)
    return path


def make_model(
    inputs: list[dict[str, Any]], outputs: list[dict[str, Any]], *, flops_per_row: int = 1, batch_rows: int = 1
) -> OnnxModel:
    number = next(_numbers)
    project = Project.objects.create(name=f"project {number}")
    stored = get_blob_store().put_bytes(f"model {number}".encode())
    record_blob(stored, NOW)
    return OnnxModel.objects.create(
        project=project,
        name=f"model {number}",
        blob_id=stored.sha256,
        opset=17,
        operators=["MatMul"],
        inputs=inputs,
        outputs=outputs,
        batch_rows=batch_rows,
        flops_per_row=flops_per_row,
        memory_bytes=1_000_000,
    )


def make_batch(
    model: OnnxModel, path: Path, *, rows: int, unit_rows: int, quorum: int = 2, price: int = 7, **fields: Any
) -> Batch:
    """Queue a batch over the file; the target time is chosen so that a unit gets `unit_rows` rows."""
    stored = get_blob_store().put_file(path)
    record_blob(stored, NOW)
    dataset = Dataset.objects.create(
        project=model.project,
        name="dataset",
        format=path.suffix.removeprefix("."),
        blob=Blob.objects.get(sha256=stored.sha256),
        rows=rows,
        columns=[],
    )
    batch = Batch.objects.create(
        project=model.project,
        model=model,
        dataset=dataset,
        quorum=quorum,
        memory_bytes=model.memory_bytes,
        opset=model.opset,
        unit_target_seconds=(unit_rows + 0.5) * model.flops_per_row / 50e9,
        price_per_row_microcredits=price,
        rows_total=rows,
        **fields,
    )
    BatchProgress.objects.create(batch=batch)
    return batch
