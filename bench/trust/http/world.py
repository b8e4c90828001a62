"""The rows that a run starts from: a model, a dataset, a batch that the product itself splits; owners with cars."""

from __future__ import annotations

import hashlib
import math
import random
import tempfile
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.trust.http import truth
from bench.trust.http.options import HttpOptions
from bench.trust.http.scenarios import Scenario

if TYPE_CHECKING:
    from workunits.models import Batch, OnnxModel, Vehicle


def make_batch(scenario: Scenario, options: HttpOptions, now: datetime) -> Batch:
    """Register a dataset, order a batch over it, and let the product split it."""
    from workunits.models import Batch, Project
    from workunits.pipeline.intake import register_dataset, submit_batch
    from workunits.pipeline.split import split_batch

    project = Project.objects.create(name=scenario.name, created_at=now)
    rows = options.cars * options.units_per_car * truth.UNIT_ROWS
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "inputs.npz"
        np.savez(path, x=truth.make_inputs(rows, options.seed))
        dataset = register_dataset(project_id=project.id, name="inputs", format="npz", path=path, now=now)
    model = _make_model(project.id, now)
    batch = submit_batch(
        project_id=project.id, model_public_id=model.public_id, dataset_public_id=dataset.public_id, now=now
    )
    contract = batch.contract
    if not options.inline:
        contract["limits"]["inline_bytes_max"] = 1
    Batch.objects.filter(id=batch.id).update(level=scenario.level, quorum=scenario.quorum, contract=contract)
    if not split_batch(batch_id=batch.id, now=now):
        raise RuntimeError("the batch could not be split")
    batch.refresh_from_db()
    wanted = math.ceil(rows / truth.UNIT_ROWS)
    if batch.units_total != wanted:
        raise RuntimeError(f"the batch has {batch.units_total} units, not {wanted}")
    return batch


def _make_model(project_id: int, now: datetime) -> OnnxModel:
    """Write the row that admission would write; the file itself is never run here."""
    from workunits.models import OnnxModel
    from workunits.store.blobs import get_blob_store, record_blob

    stored = get_blob_store().put_bytes(b"the network of bench.trust.http.truth")
    record_blob(stored, now)
    return OnnxModel.objects.create(
        project_id=project_id,
        name="logits",
        blob_id=stored.sha256,
        opset=17,
        operators=["MatMul", "Tanh"],
        inputs=[truth.INPUT],
        outputs=[truth.OUTPUT],
        batch_rows=truth.UNIT_ROWS,
        flops_per_row=truth.FLOPS_PER_ROW,
        memory_bytes=50_000_000,
        created_at=now,
    )


def make_vehicle(name: str, rng: random.Random, now: datetime) -> tuple[Vehicle, Ed25519PrivateKey]:
    """Sign an owner up and pair a car of his; its key and its id follow from the run's seed."""
    from workunits.models import Owner, User, Vehicle, VehiclePresence

    key = Ed25519PrivateKey.from_private_bytes(rng.randbytes(32))
    user = User.objects.create(username=name)
    owner = Owner.objects.create(user=user, display_name=name, created_at=now)
    vehicle = Vehicle.objects.create(
        owner=owner,
        public_id="veh_" + hashlib.sha256(name.encode()).hexdigest()[:26],
        name=f"car of {name}",
        public_key=key.public_key().public_bytes_raw(),
        paired_at=now,
    )
    VehiclePresence.objects.create(vehicle=vehicle)
    return vehicle, key
