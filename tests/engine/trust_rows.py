"""Vehicles' commitments at levels with audits, numbered and logged as a sync does, for tests of what follows."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import connection

from tests.engine.audit_rows import PRIMARY, level_number, put_replica
from tests.engine.factories import NOW, rows_of
from workunits.models import Batch, Vehicle, VehiclePresence


def commit_result(
    batch: Batch,
    vehicle: Vehicle,
    value: float | None = 1.0,
    *,
    unit: int = 0,
    role: int = PRIMARY,
    at: datetime = NOW,
    drawn: bool = False,
    comparison_class: str = "x86",
    **options: Any,
) -> int:
    """Let a vehicle commit to a unit under its next number, and return that number."""
    presence = VehiclePresence.objects.get(vehicle=vehicle)
    presence.commit_sequence += 1
    presence.save(update_fields=["commit_sequence"])
    sequence = presence.commit_sequence
    put_replica(
        batch, value, unit=unit, vehicle=vehicle, role=role, sequence=sequence, drawn=drawn,
        comparison_class=comparison_class, at=at, **options,
    )  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO vehicle_commit VALUES (%s, %s, %s, %s, %s, 1, %s, %s, %s, %s, 50, 1.0, %s, %s)",
            [
                vehicle.id, sequence, batch.id, unit, vehicle.owner_id, level_number(batch.level), role, batch.model_id,
                comparison_class, drawn, at,
            ],
        )  # fmt: skip
    return sequence


def kept_commits(vehicle: Vehicle) -> list[int]:
    """Return the numbers of the commitments that are still remembered."""
    return [row["sequence"] for row in rows_of("vehicle_commit", vehicle_id=vehicle.id)]


def units_of(batch: Batch) -> list[dict[str, Any]]:
    """Return a batch's units in order."""
    return rows_of("unit", batch_id=batch.id)


def outcomes_of(batch: Batch, vehicle: Vehicle) -> dict[int, str]:
    """Return what became of what a vehicle's owner earned in a batch, by unit."""
    rows = rows_of("earning_outcome", batch_id=batch.id, owner_id=vehicle.owner_id)
    return {row["unit_number"]: row["outcome"] for row in rows}
