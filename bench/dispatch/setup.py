"""Fill an empty installation: owners with a car each, and batches whose units are leasable at once.

Run as `python -m bench.dispatch.setup PLAN OPTIONS` with the installation's environment. It writes rows directly:
pairing and splitting have measurements of their own.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.dispatch.options import DispatchOptions, decode_options
from bench.dispatch.plan import CarPlan, FleetPlan, write_plan

if TYPE_CHECKING:
    from workunits.domain.types import TensorSpec
    from workunits.models import Dataset, OnnxModel

PRICE_PER_ROW_MICROCREDITS = 1_000
INPUT_BYTES = 4096


def main(arguments: list[str]) -> None:
    """Make everything and write the plan."""
    import django

    django.setup()
    plan_path, options = Path(arguments[0]), decode_options(arguments[1])
    write_plan(fill(options), plan_path)


def fill(options: DispatchOptions) -> FleetPlan:
    """Make owners, cars, one model and one dataset, and the batches; return the plan."""
    from django.conf import settings
    from django.db import connection

    from fleetcompute.api.vehicle.signing import get_director
    from workunits.domain.tensors import make_header

    spec = _output_spec(options.output_bytes)
    cars = _make_cars(options.owners)
    model, dataset = _make_catalog(spec, rows=options.units)
    for _ in range(options.batches):
        _make_batch(model, dataset, options)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("CHECKPOINT")
    return FleetPlan(
        cars=tuple(cars),
        output_header=make_header((spec,), 1).hex(),
        output_bytes=options.output_bytes,
        model_sha256=model.blob_id,
        director_key=get_director(settings.FLEET_DIRECTOR_KEY).public_key.hex(),
    )


def _output_spec(output_bytes: int) -> TensorSpec:
    """Return a float vector whose safetensors document has exactly so many bytes."""
    from workunits.domain.tensors import document_bytes
    from workunits.domain.types import TensorSpec

    for length in range(output_bytes // 4, 0, -1):
        spec = TensorSpec(name="y", dtype="F32", shape=(length,))
        if document_bytes((spec,), 1) == output_bytes:
            return spec
    raise ValueError(f"no tensor makes a document of {output_bytes} bytes")


def _make_cars(owners: int) -> list[CarPlan]:
    from workunits.models import Owner, User, Vehicle, VehiclePresence

    users = User.objects.bulk_create(User(username=f"owner{number}") for number in range(owners))
    people = Owner.objects.bulk_create(Owner(user=user, display_name=user.username) for user in users)
    seeds = [os.urandom(32) for _ in people]
    vehicles = Vehicle.objects.bulk_create(
        Vehicle(
            owner=owner,
            name=f"car of {owner.display_name}",
            public_key=Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw(),
        )
        for owner, seed in zip(people, seeds, strict=True)
    )
    VehiclePresence.objects.bulk_create(VehiclePresence(vehicle=vehicle) for vehicle in vehicles)
    return [
        CarPlan(vehicle_id=vehicle.public_id, seed=seed.hex()) for vehicle, seed in zip(vehicles, seeds, strict=True)
    ]


def _make_catalog(spec: TensorSpec, *, rows: int) -> tuple[OnnxModel, Dataset]:
    from workunits.models import Blob, Dataset, OnnxModel, Project

    project = Project.objects.create(name="benchmark")
    model_blob, data_blob = (
        Blob.objects.create(sha256=hashlib.sha256(name).hexdigest(), size_bytes=1_000_000)
        for name in (b"model", b"data")
    )
    output = {"name": spec.name, "dtype": spec.dtype, "shape": list(spec.shape)}
    model = OnnxModel.objects.create(
        project=project,
        name="benchmark",
        blob=model_blob,
        opset=17,
        operators=["Identity"],
        inputs=[{"name": "x", "dtype": "F32", "shape": [INPUT_BYTES // 4]}],
        outputs=[{**output, "comparator": "dense", "tolerance": 1e-3}],
        batch_rows=1,
        flops_per_row=1_000_000,
        memory_bytes=64 * 1024 * 1024,
    )
    columns = [{"name": "x", "dtype": "F32", "shape": [INPUT_BYTES // 4]}]
    dataset = Dataset.objects.create(
        project=project, name="benchmark", format="npz", blob=data_blob, rows=rows, columns=columns
    )
    return model, dataset


def _make_batch(model: OnnxModel, dataset: Dataset, options: DispatchOptions) -> None:
    from django.db import connection, transaction

    from workunits.models import Batch, BatchProgress, Shard
    from workunits.pipeline.intake import build_contract

    units = options.units
    with transaction.atomic(), connection.cursor() as cursor:
        batch = Batch.objects.create(
            project_id=model.project_id,
            model=model,
            dataset=dataset,
            quorum=options.quorum,
            contract=build_contract(model, unit_target_seconds=1.0),
            memory_bytes=model.memory_bytes,
            opset=model.opset,
            unit_rows=1,
            unit_target_seconds=1.0,
            price_per_row_microcredits=PRICE_PER_ROW_MICROCREDITS,
            rows_total=units,
            units_total=units,
            status="in_progress",
        )
        Shard.objects.create(
            batch=batch,
            number=0,
            blob_sha256=hashlib.sha256(batch.public_id.encode()).hexdigest(),
            size_bytes=units * INPUT_BYTES,
            row_start=0,
            row_end=units,
        )
        BatchProgress.objects.create(batch=batch, units_open=units)
        cursor.execute(
            "UPDATE batch SET lane = (SELECT lane FROM generate_series(0, 15) AS lane"
            " WHERE satisfies_hash_partition('unit'::regclass, 16, lane, id)) WHERE id = %s",
            [batch.id],
        )
        cursor.execute(
            "INSERT INTO unit (batch_id, number, shard_number, row_start, rows, byte_start, byte_end, input_digest,"
            " reward_microcredits, needed, place)"
            " SELECT %(batch)s, n, 0, n, 1, n::bigint * %(bytes)s, (n + 1)::bigint * %(bytes)s,"
            " sha256((%(batch)s || ':' || n)::bytea), %(price)s, %(quorum)s, row_number() OVER (ORDER BY hashint4(n))"
            " FROM generate_series(0, %(units)s - 1) AS n",
            {
                "batch": batch.id,
                "bytes": INPUT_BYTES,
                "price": PRICE_PER_ROW_MICROCREDITS,
                "quorum": options.quorum,
                "units": units,
            },
        )


if __name__ == "__main__":
    main(sys.argv[1:])
