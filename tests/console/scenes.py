"""A dispute and what hangs on it, for the console's pages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from django.db import connection
from safetensors.numpy import save

from tests.engine.audit_rows import AUDIT, finish_run, make_audited_batch, put_replica
from tests.engine.factories import NOW
from workunits.models import Audit, Batch, OnnxModel, Vehicle

OUTPUTS = [
    {"name": "scores", "dtype": "F32", "shape": [7], "comparator": "logits", "tolerance": 1e-4},
    {"name": "label", "dtype": "I64", "shape": [], "comparator": "exact", "tolerance": 0.0},
]


@dataclass
class Dispute:
    """Who disagreed over what."""

    batch: Batch
    honest: Vehicle
    liar: Vehicle
    audit: Audit


def classify(rows: int = 2, *, lie: float = 0.0) -> bytes:
    """Return a classifier's output; a lie raises the score of class 3 in the last row."""
    scores = np.tile(np.arange(7, dtype=np.float32), (rows, 1))
    scores[-1, 3] += lie
    return save({"scores": scores, "label": scores.argmax(axis=1).astype(np.int64)})


def make_dispute(level: str = "standard", *, rows: int = 2) -> Dispute:
    """Let a car lie, another run its unit again, and an anchor settle it."""
    from workunits.pipeline.resolve import resolve_anchor_runs
    from workunits.pipeline.validate import validate_ready

    batch = make_audited_batch(level, units=3, rows=rows, reward=25 * rows)
    OnnxModel.objects.filter(id=batch.model_id).update(outputs=OUTPUTS)
    Batch.objects.filter(id=batch.id).update(contract={**batch.contract, "outputs": OUTPUTS})
    liar = put_replica(batch, drawn=True, output=classify(rows, lie=9.0), comparison_class="avx512")
    validate_ready(now=NOW)
    honest = put_replica(batch, role=AUDIT, output=classify(rows), comparison_class="neon", sequence=4)
    validate_ready(now=NOW)
    finish_run(batch, output=classify(rows))
    resolve_anchor_runs(now=NOW + timedelta(seconds=5))
    audit = Audit.objects.get(batch=batch, vehicle=liar)
    assert (audit.state, audit.stage) == ("failed", "anchor")
    return Dispute(batch=batch, honest=honest, liar=liar, audit=audit)


def put_commits(vehicle: Vehicle, batch: Batch, count: int, *, level: int = 2) -> None:
    """Write commitments of a vehicle that is believed more and more."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO vehicle_commit (vehicle_id, sequence, batch_id, unit_number, owner_id, attempt, level, role,"
            " model_id, comparison_class, weight, probability, drawn, committed_at)"
            " SELECT %s, n, %s, 0, %s, 1, %s, 0, %s, 'x86', 50, least(1.0, 10.0 / n), n %% 4 = 0,"
            " %s::timestamptz + n * interval '1 minute' FROM generate_series(1, %s) AS n",
            [vehicle.id, batch.id, vehicle.owner_id, level, batch.model_id, NOW, count],
        )
