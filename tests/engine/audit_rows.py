"""Rows of batches with audits, written as a sync and a lease would leave them, for tests of what is made of them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection

from tests.engine.factories import NOW, honest_output, make_batch, make_vehicle
from workunits.domain.audits.levels import LEVEL_NUMBER, VerificationLevel
from workunits.domain.tokens import ReplicaRef, make_salt, salted_digest, seal_tokens
from workunits.models import AnchorRun, Audit, Batch, Vehicle
from workunits.store.blobs import get_blob_store, record_blob

PRIMARY, AUDIT, KNOWN = 0, 1, 2


def make_audited_batch(level: str = "standard", **options: Any) -> Batch:
    """Return a batch in progress whose results are believed after one run."""
    batch = make_batch(quorum=1, **options)
    Batch.objects.filter(id=batch.id).update(level=level)
    batch.refresh_from_db()
    return batch


def salt_of(batch: Batch, owner_id: int, *, unit: int = 0, attempt: int = 1) -> bytes:
    """Return the salt that a replica's commitment has."""
    key = settings.FLEET_TOKEN_KEY
    return make_salt(key, seal_tokens(key, [ReplicaRef(batch.id, unit, owner_id, attempt)])[0])


def put_replica(
    batch: Batch,
    value: float | None = 1.0,
    *,
    unit: int = 0,
    vehicle: Vehicle | None = None,
    role: int = PRIMARY,
    state: str = "REPORTED",
    output: bytes | None = None,
    sketch: bytes | None = None,
    commitment: bytes | None = None,
    sequence: int = 1,
    drawn: bool = False,
    young: bool = False,
    comparison_class: str = "x86",
    bytes_wanted: bool = False,
    attempt: int = 1,
    at: datetime = NOW,
) -> Vehicle:
    """Write a replica whose car computed `value`, queue its unit, and return the car.

    REPORTED: the bytes are here; COMMITTED: only commitment and sketch. Its unit needs one output less.
    """
    vehicle = vehicle or make_vehicle()
    data = output if output is not None else honest_output(2, value or 0.0)
    salt = salt_of(batch, vehicle.owner_id, unit=unit, attempt=attempt)
    is_here = state in ("REPORTED", "VALID", "INVALID", "INCONCLUSIVE", "REVOKED")
    has_committed = is_here or state == "COMMITTED"
    columns: dict[str, Any] = {
        "batch_id": batch.id,
        "unit_number": unit,
        "owner_id": vehicle.owner_id,
        "vehicle_id": vehicle.id,
        "attempt": attempt,
        "state": state,
        "rows": 2,
        "leased_at": at,
        "deadline_at": at + timedelta(hours=1),
        "committed_at": at if has_committed else None,
        "reported_at": at if is_here else None,
        "ended_at": None if state in ("LEASED", "COMMITTED", "REPORTED") else at,
        "commitment": (commitment or salted_digest(salt, data)) if has_committed else None,
        "sketch": sketch,
        "output_bytes": len(data) if has_committed else None,
        "output": data if is_here else None,
        "role": role,
        "weight": 50,
        "sequence": sequence if has_committed else None,
        "drawn": drawn,
        "young": young,
        "comparison_class": comparison_class,
        "bytes_wanted": bytes_wanted,
    }
    names = ", ".join(columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO replica ({names}, output_digest) VALUES ({', '.join(['%s'] * len(columns))},"
            " CASE WHEN %s THEN sha256(%s) END)",
            [*columns.values(), is_here, data],
        )
        cursor.execute(
            "UPDATE unit SET needed = greatest(0, needed - 1) WHERE batch_id = %s AND number = %s", [batch.id, unit]
        )
    review(batch, unit)
    return vehicle


def deliver_bytes(batch: Batch, vehicle: Vehicle, value: float, *, unit: int = 0) -> None:
    """Let the bytes of a committed replica arrive, as an upload does."""
    data = honest_output(2, value)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE replica SET state = 'REPORTED', reported_at = %s, output = %s, output_digest = sha256(%s)"
            " WHERE batch_id = %s AND unit_number = %s AND owner_id = %s AND state = 'COMMITTED'",
            [NOW, data, data, batch.id, unit, vehicle.owner_id],
        )
        assert cursor.rowcount == 1
    review(batch, unit)


def end_replica(batch: Batch, vehicle: Vehicle, state: str, *, unit: int = 0) -> None:
    """Let a replica end without a result: RETURNED, ERRORED or EXPIRED."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE replica SET state = %s, ended_at = %s"
            " WHERE batch_id = %s AND unit_number = %s AND owner_id = %s AND state IN ('LEASED', 'COMMITTED')",
            [state, NOW, batch.id, unit, vehicle.owner_id],
        )
        assert cursor.rowcount == 1
    review(batch, unit)


def review(batch: Batch, unit: int = 0) -> None:
    """Queue a unit for review."""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO review (batch_id, unit_number) VALUES (%s, %s)", [batch.id, unit])


def finish_run(
    batch: Batch, value: float = 1.0, *, unit: int = 0, output: bytes | None = None, reason: str = "dispute"
) -> AnchorRun:
    """Let an anchor end its run of a unit; one is made where none is under way."""
    stored = get_blob_store().put_bytes(honest_output(2, value) if output is None else output)
    record_blob(stored, NOW)
    run = AnchorRun.objects.filter(batch=batch, unit_number=unit, state__in=["waiting", "running"]).first()
    run = run or AnchorRun(batch=batch, unit_number=unit, reason=reason, created_at=NOW)
    run.state, run.claimed_at, run.done_at = AnchorRun.State.DONE.value, NOW, NOW + timedelta(seconds=1)
    run.output_digest, run.output_blob = bytes.fromhex(stored.sha256), stored.sha256
    run.comparison_class = "anchor"
    run.save()
    return run


def fail_run(batch: Batch, *, unit: int = 0) -> AnchorRun:
    """Let an anchor's run of a unit come to nothing."""
    run = AnchorRun.objects.get(batch=batch, unit_number=unit, state__in=["waiting", "running"])
    run.state, run.error = AnchorRun.State.FAILED.value, "out of memory"
    run.save()
    return run


def level_number(level: str) -> int:
    """Return a level as tables store it."""
    return LEVEL_NUMBER[VerificationLevel(level)]


def audits_of(batch: Batch, **where: Any) -> list[Audit]:
    """Return a batch's audits, oldest first."""
    return list(Audit.objects.filter(batch=batch, **where).order_by("id"))
