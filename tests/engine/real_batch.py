"""Audited batches whose models and inputs are in the blob store, so that a real runner can run their units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connection
from safetensors.numpy import save

from tests.client.support import CLASSES, input_rows
from tests.engine.audit_rows import make_audited_batch
from tests.engine.factories import NOW
from workunits.models import Batch, Shard
from workunits.store.blobs import get_blob_store, record_blob

ROWS = 2
LINEAR_INPUTS = [{"name": "x", "dtype": "F32", "shape": [input_rows(1).shape[1]]}]
LINEAR_OUTPUTS = [
    {"name": "logits", "dtype": "F32", "shape": [CLASSES], "comparator": "logits", "tolerance": 1e-4},
    {"name": "label", "dtype": "I64", "shape": [], "comparator": "exact", "tolerance": 0.0},
]


def make_linear_batch(model: bytes, *, units: int = 2, **limits: int) -> Batch:
    """Return a batch of the tests' small models, of `ROWS` rows a unit."""
    documents = [save({"x": input_rows(ROWS, seed=unit)}) for unit in range(units)]
    return make_real_batch(
        model, documents, rows=ROWS, inputs=LINEAR_INPUTS, outputs=LINEAR_OUTPUTS, memory_bytes=200_000_000, **limits
    )


def make_real_batch(
    model: bytes,
    documents: Sequence[bytes],
    *,
    rows: int,
    inputs: Sequence[Mapping[str, Any]],
    outputs: Sequence[Mapping[str, Any]],
    batch_rows: int = 2,
    **limits: int,
) -> Batch:
    """Return a batch with a unit for each input document. `outputs` as in a model's description."""
    batch = make_audited_batch(units=len(documents), rows=rows)
    stored, shard = get_blob_store().put_bytes(model), get_blob_store().put_bytes(b"".join(documents))
    record_blob(stored, NOW)
    record_blob(shard, NOW)
    told = [{name: output[name] for name in ("name", "dtype", "shape", "comparator")} for output in outputs]
    contract = batch.contract | {
        "model": {"sha256": stored.sha256, "bytes": len(model)},
        "inputs": inputs,
        "outputs": told,
        "batch_rows": batch_rows,
        "limits": batch.contract["limits"] | limits,
    }
    Batch.objects.filter(id=batch.id).update(contract=contract)
    batch.model.blob_id, batch.model.outputs = stored.sha256, list(outputs)
    batch.model.save()
    Shard.objects.filter(batch=batch).update(blob_sha256=shard.sha256)
    with connection.cursor() as cursor:
        for unit, document in enumerate(documents):
            start = sum(map(len, documents[:unit]))
            cursor.execute(
                "UPDATE unit SET byte_start = %s, byte_end = %s, input_digest = sha256(%s)"
                " WHERE batch_id = %s AND number = %s",
                [start, start + len(document), document, batch.id, unit],
            )
    batch.refresh_from_db()
    return batch
