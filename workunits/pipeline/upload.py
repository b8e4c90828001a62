"""Upload: outputs too large to travel inside a sync, sent in parts after their commitment.

In: parts of a committed replica's output. Moves: replica COMMITTED -> REPORTED, once all bytes are here and have the
committed digest and the contract's tensors. A refused upload leaves the replica COMMITTED and may start again at 0.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import ClassVar

from django.conf import settings
from django.db import transaction

from workunits.domain.errors import FleetError
from workunits.domain.outputs import OutputTooLarge, check_output
from workunits.domain.replicas import LeaseExpired, ReplicaEnded, ReplicaNotYours
from workunits.domain.states import REPORTED_REPLICA_STATES, ReplicaState
from workunits.domain.tensors import OutputMalformed
from workunits.domain.tokens import ReplicaRef, ReplicaUnknown, make_salt, open_token
from workunits.store.blobs import get_blob_store, record_blob
from workunits.store.board import get_contract, get_output_specs
from workunits.store.uploads import UploadingReplica, find_replica, report_uploaded_output
from workunits.store.vehicles import KnownVehicle

PART_BYTES_MAX = 1024 * 1024


class UploadNotExpected(FleetError):
    """Nothing was committed for this replica."""

    code: ClassVar[str] = "upload_not_expected"


def get_upload(*, vehicle: KnownVehicle, token: str) -> tuple[int, int]:
    """Return how many bytes of an output are here, and how many there will be. Raises as `accept_part`."""
    _, replica = _find(vehicle, token)
    length = replica.output_bytes or 0
    return (
        length if replica.state in REPORTED_REPLICA_STATES else get_blob_store().parts_offset(_upload_key(token))
    ), length


def accept_part(*, vehicle: KnownVehicle, token: str, offset: int, data: bytes, now: datetime) -> int:
    """Take a part of an output at `offset` and return the new offset; the last part makes the replica REPORTED.

    Repeating a part of an upload that is complete changes nothing.

    Raises:
        ReplicaUnknown, ReplicaNotYours, LeaseExpired, ReplicaEnded, UploadNotExpected, UploadOffsetConflict,
        OutputTooLarge, OutputDigestMismatch, OutputMalformed: nothing of this part was kept.
    """
    ref, replica = _find(vehicle, token)
    length = replica.output_bytes or 0
    if replica.state in REPORTED_REPLICA_STATES:
        return length
    if offset + len(data) > length:
        raise OutputTooLarge(f"{length} bytes were committed, this part would end at {offset + len(data)}")
    end = get_blob_store().append_part(_upload_key(token), offset, data)
    if end == length:
        _finish(vehicle, ref, replica, token, now)
    return end


def _upload_key(token: str) -> str:
    return hashlib.sha256(token.encode("ascii")).hexdigest()


def _find(vehicle: KnownVehicle, token: str) -> tuple[ReplicaRef, UploadingReplica]:
    ref = open_token(settings.FLEET_TOKEN_KEY, token)
    replica = find_replica(ref)
    if replica is None:
        raise ReplicaUnknown
    if replica.vehicle_id != vehicle.vehicle_id:
        raise ReplicaNotYours
    if replica.attempt != ref.attempt or replica.state == ReplicaState.EXPIRED:
        raise LeaseExpired
    if replica.state == ReplicaState.LEASED:
        raise UploadNotExpected
    if replica.state not in (ReplicaState.COMMITTED, *REPORTED_REPLICA_STATES):
        raise ReplicaEnded
    return ref, replica


def _finish(vehicle: KnownVehicle, ref: ReplicaRef, replica: UploadingReplica, token: str, now: datetime) -> None:
    store, upload_key = get_blob_store(), _upload_key(token)
    data = store.read_parts(upload_key)
    try:
        digest, rows = check_output(
            data,
            commitment=replica.commitment or b"",
            salt=make_salt(settings.FLEET_TOKEN_KEY, token),
            specs=get_output_specs(ref.batch_id),
            bytes_max=get_contract(ref.batch_id)["limits"]["output_bytes_max"],
        )
        if rows != replica.rows:
            raise OutputMalformed(f"the output has {rows} rows, the unit has {replica.rows}")
    except FleetError:
        store.drop_parts(upload_key)
        raise
    stored = store.put_bytes(data)
    with transaction.atomic():
        record_blob(stored, now=now)
        is_reported = report_uploaded_output(
            ref, vehicle_id=vehicle.vehicle_id, digest=digest, blob=stored.sha256, now=now
        )
    store.drop_parts(upload_key)
    if not is_reported:
        raise LeaseExpired
