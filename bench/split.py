"""How fast a dataset becomes leasable work units: Parquet in; shard blobs, digests and unit rows out.

It runs the stage itself, as a Celery worker would, on a PostgreSQL of its own that waits for the disk. The clock runs
from the queued batch until its units can be leased.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.measure.machine import describe_machine
from bench.measure.processes import read_processor_time
from fleetcompute.embedded import Services
from fleetcompute.embedded.identity import erase_data

FLOATS_PER_ROW: Final = 64
WARM_UP_UNITS: Final = 1_000
FLOPS_PER_ROW: Final = 1_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the benchmark's options."""
    parser.add_argument("--units", type=int, default=200_000, help="work units to make")
    parser.add_argument("--unit-rows", type=int, default=4, help=f"rows of {FLOATS_PER_ROW} floats in a unit")
    parser.add_argument("--quorum", type=int, default=2, help="replicas that each unit needs")


def run(options: argparse.Namespace) -> dict[str, object]:
    """Split one dataset and return the figures."""
    with tempfile.TemporaryDirectory(prefix="fleetcompute-bench-") as folder:
        home = Path(folder)
        try:
            with Services(home, with_valkey=False) as services:
                _set_up_django(services.env)
                _split(home, options, WARM_UP_UNITS)
                report = _measure(home, options, services.pids())
                _close_connection()
        finally:
            erase_data(home)
    return report


def _set_up_django(environ: Mapping[str, str]) -> None:
    os.environ.update(
        environ, DJANGO_SETTINGS_MODULE="fleetcompute.settings.development", FLEET_ADMISSION_REQUIRED="no"
    )
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)


def _close_connection() -> None:
    from django.db import connection

    connection.close()


def _measure(home: Path, options: argparse.Namespace, pids: Mapping[str, int]) -> dict[str, object]:
    pids = {**pids, "worker": os.getpid()}
    # This process is the worker; the services are its children, and count by themselves.
    before, own_before = read_processor_time({"PostgreSQL": pids["PostgreSQL"]}), _own_seconds()
    seconds, batch_id = _split(home, options, options.units)
    spent, own = read_processor_time({"PostgreSQL": pids["PostgreSQL"]}).since(before), _own_seconds() - own_before
    units, size = _count_leasable(batch_id)
    if units != options.units:
        raise RuntimeError(f"{units} of {options.units} units can be leased")
    postgres_ms = spent.ms_per_item(units)["total"]
    worker_ms = 1000.0 * own / units
    return {
        "benchmark": "split",
        "units_per_second": round(units / seconds, 1),
        "units": units,
        "quorum": options.quorum,
        "seconds": round(seconds, 3),
        "rows": units * options.unit_rows,
        "unit_rows": options.unit_rows,
        "bytes": size,
        "server_cpu_ms_per_item": round(postgres_ms + worker_ms, 4),
        "cpu_ms_per_item_by_process": {"postgres": postgres_ms, "worker": round(worker_ms, 4)},
        "machine": describe_machine(),
    }


def _own_seconds() -> float:
    times = os.times()
    return times.user + times.system


def _split(home: Path, options: argparse.Namespace, units: int) -> tuple[float, int]:
    """Queue a batch of `units` units, split it, and return the seconds that took and its id."""
    from workunits.pipeline.split import split_batch

    rows = units * options.unit_rows
    batch = _queue_batch(_write_dataset(home / "dataset.parquet", rows), rows, options)
    now = dt.datetime.now(dt.UTC)
    start = time.perf_counter()
    if not split_batch(batch_id=batch.id, now=now):
        batch.refresh_from_db()
        raise RuntimeError(f"the batch is {batch.status}: {batch.status_reason}")
    return time.perf_counter() - start, batch.id


def _write_dataset(path: Path, rows: int) -> Path:
    """Write random floats; the numbers do not matter, but they should not compress away."""
    random = np.random.default_rng(0)
    type_ = pa.list_(pa.float32(), FLOATS_PER_ROW)
    schema = pa.schema([pa.field("x", type_)])
    with pq.ParquetWriter(path, schema, use_dictionary=False) as writer:
        for start in range(0, rows, 65_536):
            count = min(65_536, rows - start)
            values = pa.array(random.standard_normal(count * FLOATS_PER_ROW, dtype=np.float32))
            column = pa.FixedSizeListArray.from_arrays(values, FLOATS_PER_ROW)
            writer.write_table(pa.Table.from_arrays([column], schema=schema))
    return path


def _queue_batch(path: Path, rows: int, options: argparse.Namespace) -> Any:
    from django.conf import settings

    from workunits.models import Batch, BatchProgress, Dataset, OnnxModel, Project
    from workunits.store.blobs import get_blob_store, record_blob

    now = dt.datetime.now(dt.UTC)
    stored = get_blob_store().put_file(path)
    record_blob(stored, now)
    project = Project.objects.create(name="benchmark")
    model = OnnxModel.objects.create(
        project=project,
        name="model",
        blob_id=stored.sha256,
        opset=17,
        operators=["MatMul"],
        inputs=[{"name": "x", "dtype": "F32", "shape": [FLOATS_PER_ROW]}],
        outputs=[{"name": "y", "dtype": "F32", "shape": [1], "comparator": "dense", "tolerance": 1e-4}],
        batch_rows=1,
        flops_per_row=FLOPS_PER_ROW,
        memory_bytes=1,
    )
    dataset = Dataset.objects.create(
        project=project, name="dataset", format="parquet", blob_id=stored.sha256, rows=rows, columns=[]
    )
    batch = Batch.objects.create(
        project=project,
        model=model,
        dataset=dataset,
        quorum=options.quorum,
        memory_bytes=1,
        opset=17,
        unit_target_seconds=(options.unit_rows + 0.5) * FLOPS_PER_ROW / settings.FLEET.reference_car_flops_per_second,
        price_per_row_microcredits=1,
        rows_total=rows,
    )
    BatchProgress.objects.create(batch=batch)
    return batch


def _count_leasable(batch_id: int) -> tuple[int, int]:
    """Return how many units can be leased now, and the bytes of their documents."""
    from django.db.models import F, Sum

    from workunits.models import Unit

    units = Unit.objects.filter(batch_id=batch_id, batch__status="in_progress", needed=F("batch__quorum"))
    size = units.aggregate(size=Sum(F("byte_end") - F("byte_start")))["size"]
    return units.count(), int(size or 0)
