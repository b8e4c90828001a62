"""Rows that engine tests start from, and a car that speaks to the pipeline without HTTP."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import numpy as np
from django.conf import settings
from django.db import connection
from safetensors.numpy import save

from workunits.domain.tokens import salted_digest
from workunits.models import (
    Batch,
    BatchProgress,
    Blob,
    Dataset,
    OnnxModel,
    Owner,
    Project,
    Shard,
    User,
    Vehicle,
    VehiclePresence,
)
from workunits.pipeline.dispatch import Lease, SyncAnswer, sync_vehicle
from workunits.pipeline.report import OfferedCommitment, OfferedReturn, SyncRequest
from workunits.store.leases import Heartbeat
from workunits.store.vehicles import KnownVehicle, find_vehicle

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
OUTPUT = {"name": "score", "dtype": "F32", "shape": [4], "comparator": "dense", "tolerance": 1e-4}
_numbers = count(1)


def make_project() -> Project:
    return Project.objects.create(name=f"project {next(_numbers)}")


def make_owner() -> Owner:
    user = User.objects.create(username=f"owner-{next(_numbers)}")
    return Owner.objects.create(user=user, display_name=user.username)


def make_vehicle(owner: Owner | None = None) -> Vehicle:
    number = next(_numbers)
    vehicle = Vehicle.objects.create(
        owner=owner or make_owner(),
        name=f"car {number}",
        public_key=hashlib.sha256(str(number).encode()).digest(),
        paired_at=NOW,
    )
    VehiclePresence.objects.create(vehicle=vehicle)
    return vehicle


def make_batch(
    *,
    units: int = 4,
    quorum: int = 2,
    rows: int = 2,
    priority: int = 0,
    memory_bytes: int = 1_000,
    opset: int = 17,
    inline_bytes_max: int = 8192,
    reward: int = 50,
) -> Batch:
    """Return a batch in progress with `units` leasable units of `rows` rows each."""
    number = next(_numbers)
    blob = Blob.objects.create(sha256=hashlib.sha256(f"blob {number}".encode()).hexdigest(), size_bytes=100)
    project = make_project()
    model = OnnxModel.objects.create(
        project=project,
        name="m",
        blob=blob,
        opset=opset,
        operators=["MatMul"],
        inputs=[{"name": "x", "dtype": "F32", "shape": [3]}],
        outputs=[OUTPUT],
        batch_rows=2,
        flops_per_row=1000,
        memory_bytes=memory_bytes,
    )
    dataset = Dataset.objects.create(
        project=project, name="d", format="npz", blob=blob, rows=units * rows, columns=model.inputs
    )
    batch = Batch.objects.create(
        project=project,
        model=model,
        dataset=dataset,
        quorum=quorum,
        priority=priority,
        status="in_progress",
        memory_bytes=memory_bytes,
        opset=opset,
        unit_target_seconds=1,
        price_per_row_microcredits=reward // rows,
        rows_total=units * rows,
        units_total=units,
        unit_rows=rows,
        started_at=NOW,
        contract={
            "model": {"sha256": blob.sha256, "bytes": 100},
            "inputs": model.inputs,
            "outputs": [{key: OUTPUT[key] for key in ("name", "dtype", "shape")}],
            "batch_rows": 2,
            "limits": {
                "memory_bytes": memory_bytes,
                "seconds": 60,
                "output_bytes_max": 100_000,
                "inline_bytes_max": inline_bytes_max,
            },
            "session": {"graph_optimization": "all", "intra_op_threads": 1},
        },
    )
    BatchProgress.objects.create(batch=batch, units_open=units)
    Shard.objects.create(
        batch=batch, number=0, blob_sha256=blob.sha256, size_bytes=units * 10, row_start=0, row_end=units * rows
    )
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO unit (batch_id, number, shard_number, row_start, rows, byte_start, byte_end, input_digest,"
            " reward_microcredits, needed, place) SELECT %s, n, 0, n * %s, %s, n * 10, n * 10 + 10,"
            " sha256(n::text::bytea), %s, %s, n"
            " FROM generate_series(0, %s - 1) AS n",
            [batch.id, rows, rows, reward, quorum, units],
        )
        cursor.execute(
            "UPDATE batch SET lane = lane.n FROM generate_series(0, 15) AS lane (n)"
            " WHERE id = %s AND satisfies_hash_partition('unit'::regclass, 16, lane.n, id)",
            [batch.id],
        )
    batch.refresh_from_db()
    return batch


def honest_output(rows: int = 2, value: float = 1.0) -> bytes:
    """Return an output of the contract above, the same whoever computes it."""
    return save({"score": np.full((rows, 4), value, dtype=np.float32)})


def known(vehicle: Vehicle) -> KnownVehicle:
    """Return the vehicle as a request meets it."""
    found = find_vehicle(vehicle.public_id)
    assert found is not None
    return found


class Car:
    """A vehicle that talks straight to `sync_vehicle`, with its counter and the leases it holds."""

    def __init__(self, vehicle: Vehicle | None = None, *, memory_bytes: int = 10_000, opset_max: int = 23) -> None:
        self.vehicle = vehicle or make_vehicle()
        self.owner_id = self.vehicle.owner_id
        self.memory_bytes, self.opset_max = memory_bytes, opset_max
        self.comparison_class = "cpu"
        self.counter = 0
        self.held: dict[str, Lease] = {}
        self.models: frozenset[str] = frozenset()

    def sync(
        self,
        *,
        want: int = 0,
        commitments: list[OfferedCommitment] | None = None,
        returned: list[OfferedReturn] | None = None,
        at: datetime = NOW,
        held: list[str] | None = None,
        eligible: bool = True,
    ) -> SyncAnswer:
        self.counter += 1
        commitments, returned = commitments or [], returned or []
        leaving = {item.token for item in commitments} | {item.token for item in returned}
        answer = sync_vehicle(
            vehicle=known(self.vehicle),
            request=SyncRequest(
                heartbeat=Heartbeat(
                    counter=self.counter,
                    eligible=eligible,
                    reasons=[] if eligible else ["driving"],
                    agent="test 1",
                    comparison_class=self.comparison_class,
                    memory_bytes=self.memory_bytes,
                    opset_max=self.opset_max,
                ),
                wanted=want,
                cached_models=self.models,
                held=[token for token in self.held if token not in leaving] if held is None else held,
                commitments=commitments,
                returned=returned,
            ),
            now=at,
        )
        for token, code in answer.outcomes:
            if code in ("stored", "returned"):
                self.held.pop(token, None)
        self.held.update({lease.token: lease for lease in answer.leases})
        return answer

    def lease(self, want: int = 1, at: datetime = NOW) -> list[Lease]:
        return self.sync(want=want, at=at).leases

    def report_all(self, value: float = 1.0, at: datetime = NOW, want: int = 0) -> SyncAnswer:
        return self.sync(commitments=[commit(lease, value) for lease in self.held.values()], at=at, want=want)

    def hand_back(self, lease: Lease, *, is_error: bool = False, reason: str = "driving") -> SyncAnswer:
        return self.sync(returned=[OfferedReturn(token=lease.token, is_error=is_error, reason=reason)])


def commit(lease: Lease, value: float = 1.0, *, inline: bool = True, output: bytes | None = None) -> OfferedCommitment:
    """Return a commitment to an output full of `value`."""
    data = honest_output(lease.replica.rows, value) if output is None else output
    return OfferedCommitment(
        token=lease.token,
        digest=salted_digest(lease.salt, data),
        output_bytes=len(data),
        output=data if inline else None,
        sketch=None,
        seconds=0.5,
    )


def rows_of(table: str, **where: Any) -> list[dict[str, Any]]:
    """Return rows of a hot table as dictionaries, ordered by its key."""
    condition = " AND ".join(f"{name} = %s" for name in where) or "true"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {table} WHERE {condition} ORDER BY 1, 2, 3", list(where.values()))
        names = [column.name for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def snapshot(batch: Batch) -> tuple[Any, ...]:
    """Return everything that a refusal must not change."""
    return (
        rows_of("unit", batch_id=batch.id),
        rows_of("replica", batch_id=batch.id),
        rows_of("review", batch_id=batch.id),
        rows_of("earning_item", batch_id=batch.id),
        list(VehiclePresence.objects.order_by("vehicle_id").values()),
    )


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def lease_seconds() -> float:
    return float(settings.FLEET.lease_seconds)
