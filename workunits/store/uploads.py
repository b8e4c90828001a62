"""Outputs that come in parts: how far each has come, and the move to REPORTED once it is whole."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from workunits.domain.tokens import ReplicaRef
from workunits.store.db import cursor, execute, fetch_one


class UploadingReplica(NamedTuple):
    """A replica as an upload meets it. `received_bytes` counts the parts that are here."""

    vehicle_id: int
    attempt: int
    state: str
    rows: int
    commitment: bytes | None
    output_bytes: int | None
    received_bytes: int


def _key(ref: ReplicaRef) -> dict[str, Any]:
    return {"batch_id": ref.batch_id, "unit_number": ref.unit_number, "owner_id": ref.owner_id}


def find_replica(ref: ReplicaRef) -> UploadingReplica | None:
    """Return the replica that a token names, or None."""
    row = fetch_one("find_replica", _key(ref))
    if row is None:
        return None
    vehicle_id, attempt, state, rows, commitment, output_bytes, received = row
    digest = None if commitment is None else bytes(commitment)
    return UploadingReplica(vehicle_id, attempt, state, rows, digest, output_bytes, received)


def advance_upload(ref: ReplicaRef, *, expected: int, received: int) -> bool:
    """Note `received` bytes where the upload stood at `expected`; False where another request moved it."""
    return execute("advance_upload", {**_key(ref), "expected": expected, "received": received}) == 1


def reset_upload(ref: ReplicaRef) -> None:
    """Forget what was received: the next part starts at 0."""
    with cursor() as opened:
        opened.execute(
            "DELETE FROM output_upload WHERE batch_id = %(batch_id)s AND unit_number = %(unit_number)s"
            " AND owner_id = %(owner_id)s",
            _key(ref),
        )


def report_uploaded_output(ref: ReplicaRef, *, vehicle_id: int, digest: bytes, blob: str, now: datetime) -> bool:
    """Move the replica to REPORTED and queue its unit for review; False where its lease ended meanwhile."""
    parameters = {
        **_key(ref),
        "vehicle_id": vehicle_id,
        "attempt": ref.attempt,
        "digest": digest,
        "blob": blob,
        "now": now,
    }
    return execute("report_uploaded_output", parameters) == 1
