"""A sync's report: its tokens opened and its outputs checked, and what each item is answered.

Nothing here writes. What fails a check is answered with its error and never reaches the database.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from django.conf import settings

from workunits.domain.errors import FleetError
from workunits.domain.outputs import OutputDigestMismatch, OutputTooLarge, check_output
from workunits.domain.replicas import LeaseExpired, ReplicaEnded, ReplicaNotYours, ReplicaRole
from workunits.domain.states import LIVE_REPLICA_STATES, REPORTED_REPLICA_STATES, ReplicaState
from workunits.domain.tensors import OutputMalformed
from workunits.domain.tokens import ReplicaRef, ReplicaUnknown, make_salt, open_token
from workunits.domain.types import UnitKey
from workunits.store.board import BatchUnknown, get_contract, get_output_specs
from workunits.store.leases import CheckedCommitment, HandBack, Heartbeat, SeenReplica
from workunits.store.vehicles import KnownVehicle


@dataclass(frozen=True, kw_only=True, slots=True)
class OfferedCommitment:
    """A commitment as it came: `output` is None where the bytes are to be uploaded."""

    token: str
    digest: bytes
    output_bytes: int
    output: bytes | None
    sketch: bytes | None
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class OfferedReturn:
    """A hand-back as it came."""

    token: str
    is_error: bool
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncRequest:
    """A parsed sync."""

    heartbeat: Heartbeat
    wanted: int
    cached_models: frozenset[str]
    held: Sequence[str]
    commitments: Sequence[OfferedCommitment]
    returned: Sequence[OfferedReturn]


@dataclass(kw_only=True, slots=True)
class Report:
    """A sync's tokens, opened and checked. A token that fails here is answered with its error and never reaches SQL."""

    order: list[tuple[str, ReplicaRef | None, str]] = field(default_factory=list)  # token, ref, error code
    commitments: dict[str, CheckedCommitment] = field(default_factory=dict)
    hand_backs: dict[str, HandBack] = field(default_factory=dict)
    held: list[tuple[str, ReplicaRef | None]] = field(default_factory=list)

    @property
    def mentioned(self) -> set[UnitKey]:
        """The units of every replica that the car spoke of."""
        refs = [ref for _, ref, _ in self.order] + [ref for _, ref in self.held]
        return {UnitKey(ref.batch_id, ref.unit_number) for ref in refs if ref is not None}


def open_report(vehicle: KnownVehicle, request: SyncRequest) -> Report:
    """Return the report with every token opened and every inline output checked."""
    key = settings.FLEET_TOKEN_KEY
    report = Report()
    for token in request.held:
        try:
            ref = open_token(key, token)
        except ReplicaUnknown:
            report.held.append((token, None))
        else:
            report.held.append((token, ref if ref.owner_id == vehicle.owner_id else None))
    for item in request.commitments:
        _open_item(report, vehicle, key, item)
    for hand_back in request.returned:
        _open_item(report, vehicle, key, hand_back)
    return report


def _open_item(report: Report, vehicle: KnownVehicle, key: bytes, item: OfferedCommitment | OfferedReturn) -> None:
    token = item.token
    if token in report.commitments or token in report.hand_backs:
        return  # said twice in one sync: the first counts
    ref = None
    try:
        ref = open_token(key, token)
        if ref.owner_id != vehicle.owner_id:
            # A forged token opens to any owner; whether such a replica exists is not this car's business.
            raise ReplicaUnknown if not _exists(ref) else ReplicaNotYours
        if isinstance(item, OfferedReturn):
            state = ReplicaState.ERRORED if item.is_error else ReplicaState.RETURNED
            report.hand_backs[token] = HandBack(ref=ref, state=state.value, reason=item.reason)
        else:
            report.commitments[token] = _check_commitment(key, ref, item)
    except FleetError as refusal:
        report.order.append((token, None, refusal.code))
    else:
        report.order.append((token, ref, ""))


def _exists(ref: ReplicaRef) -> bool:
    try:
        get_contract(ref.batch_id)
    except BatchUnknown:
        return False
    return True


def _check_commitment(key: bytes, ref: ReplicaRef, item: OfferedCommitment) -> CheckedCommitment:
    try:
        limits = get_contract(ref.batch_id)["limits"]
        specs = get_output_specs(ref.batch_id)
    except BatchUnknown:
        raise ReplicaUnknown from None
    digest, rows = None, None
    if item.output_bytes > limits["output_bytes_max"]:
        raise OutputTooLarge(f"the output has {item.output_bytes} bytes, allowed are {limits['output_bytes_max']}")
    if item.output is not None:
        digest, rows = check_output(
            item.output,
            commitment=item.digest,
            salt=make_salt(key, item.token),
            specs=specs,
            bytes_max=limits["inline_bytes_max"],
        )
    return CheckedCommitment(
        ref=ref,
        commitment=item.digest,
        sketch=item.sketch,
        output_bytes=item.output_bytes,
        output=item.output,
        output_digest=digest,
        output_rows=rows,
        seconds=item.seconds,
    )


def list_outcomes(vehicle: KnownVehicle, report: Report, seen: dict[UnitKey, SeenReplica]) -> list[tuple[str, str]]:
    """Return (token, code) for each commitment and hand-back, given the replicas as they were before the sync."""
    outcomes = []
    for token, ref, refusal in report.order:
        if ref is None:
            outcomes.append((token, refusal))
            continue
        replica = seen.get(UnitKey(ref.batch_id, ref.unit_number))
        if token in report.hand_backs:
            outcomes.append((token, _hand_back_outcome(vehicle, ref, report.hand_backs[token], replica)))
        else:
            outcomes.append((token, _commitment_outcome(vehicle, ref, report.commitments[token], replica)))
    return outcomes


def _ownership_problem(vehicle: KnownVehicle, ref: ReplicaRef, replica: SeenReplica | None) -> str:
    if replica is None:
        return ReplicaUnknown.code
    if replica.vehicle_id != vehicle.vehicle_id:
        return ReplicaNotYours.code
    if replica.attempt != ref.attempt or replica.state == ReplicaState.EXPIRED:
        return LeaseExpired.code
    return ""


def _commitment_outcome(
    vehicle: KnownVehicle, ref: ReplicaRef, item: CheckedCommitment, replica: SeenReplica | None
) -> str:
    problem = _ownership_problem(vehicle, ref, replica)
    if problem or replica is None:
        return problem
    if replica.state in REPORTED_REPLICA_STATES:
        return "stored" if replica.commitment == item.commitment else ReplicaEnded.code
    if replica.state not in LIVE_REPLICA_STATES:
        return ReplicaEnded.code
    return _live_commitment_outcome(item, replica)


def _live_commitment_outcome(item: CheckedCommitment, replica: SeenReplica) -> str:
    if item.output_rows is not None and item.output_rows != replica.rows:
        return OutputMalformed.code
    if replica.state == ReplicaState.COMMITTED and replica.commitment != item.commitment:
        return OutputDigestMismatch.code
    is_said_again = replica.state == ReplicaState.COMMITTED and item.output is None
    if not (replica.has_moved or is_said_again):
        return LeaseExpired.code  # it ended in this very moment
    if item.output is not None:
        return "stored"
    # The bytes of a re-run are asked for only where digest and sketch leave a doubt.
    return "upload" if replica.role == ReplicaRole.PRIMARY or replica.bytes_wanted else "keep"


def _hand_back_outcome(vehicle: KnownVehicle, ref: ReplicaRef, item: HandBack, replica: SeenReplica | None) -> str:
    problem = _ownership_problem(vehicle, ref, replica)
    if problem or replica is None:
        return problem
    return "returned" if replica.has_moved or replica.state == item.state else ReplicaEnded.code


def list_cancelled(vehicle: KnownVehicle, report: Report, seen: dict[UnitKey, SeenReplica]) -> list[str]:
    """Return the held tokens that are of no use any more."""
    cancelled = []
    for token, ref in report.held:
        replica = seen.get(UnitKey(ref.batch_id, ref.unit_number)) if ref is not None else None
        is_live = (
            ref is not None
            and replica is not None
            and replica.vehicle_id == vehicle.vehicle_id
            and replica.attempt == ref.attempt
            and replica.state in LIVE_REPLICA_STATES
        )
        if not is_live:
            cancelled.append(token)
    return cancelled


def list_lost_leases(vehicle: KnownVehicle, report: Report, seen: dict[UnitKey, SeenReplica]) -> list[UnitKey]:
    """Return the leases that stand in our books and that the car does not know of: their answer was lost."""
    known = report.mentioned
    return [
        key
        for key in vehicle.open_leases
        if key not in known and key in seen and seen[key].state == ReplicaState.LEASED
    ]
