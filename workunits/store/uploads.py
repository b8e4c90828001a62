"""Outputs that come in parts: the replica they belong to, and its move to REPORTED once the output is whole."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from workunits.domain.tokens import ReplicaRef
from workunits.store.db import execute, fetch_one


class UploadingReplica(NamedTuple):
    """A replica as an upload meets it."""

    vehicle_id: int
    attempt: int
    state: str
    rows: int
    commitment: bytes | None
    output_bytes: int | None


def _key(ref: ReplicaRef) -> dict[str, Any]:
    return {"batch_id": ref.batch_id, "unit_number": ref.unit_number, "owner_id": ref.owner_id}


def find_replica(ref: ReplicaRef) -> UploadingReplica | None:
    """Return the replica that a token names, or None."""
    row = fetch_one("find_replica", _key(ref))
    if row is None:
        return None
    vehicle_id, attempt, state, rows, commitment, output_bytes = row
    digest = None if commitment is None else bytes(commitment)
    return UploadingReplica(vehicle_id, attempt, state, rows, digest, output_bytes)


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
