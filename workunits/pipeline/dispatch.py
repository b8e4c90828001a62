"""Dispatch: one sync of a vehicle, from what it reports to what it is given.

In: an authenticated vehicle and its parsed sync. Out: what to answer. Moves: replica LEASED -> COMMITTED or REPORTED
(bytes inline), LEASED/COMMITTED -> RETURNED or ERRORED, (new) -> LEASED. Whatever number of replicas a sync reports and
asks for, it costs one statement to record it and one for each batch it leases from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any, ClassVar

from django.conf import settings
from django.db import transaction

from workunits.domain.eligibility import OpenBatch, VehicleOffer, choose_batches
from workunits.domain.errors import FleetError
from workunits.domain.outputs import OutputTooLarge, check_output
from workunits.domain.states import ReplicaState
from workunits.domain.tokens import ReplicaRef, ReplicaUnknown, make_salt, open_token, seal_tokens
from workunits.domain.types import UnitKey
from workunits.store.board import BatchUnknown, DispatchBoard, get_contract, get_output_specs
from workunits.store.leases import (
    CheckedCommitment,
    HandBack,
    Heartbeat,
    LeasedReplica,
    SeenReplica,
    lease_replicas,
    record_sync,
    resend_leases,
)
from workunits.store.vehicles import KnownVehicle

# A sync may fill up from this many batches of its lane; the first nearly always has enough.
BATCHES_PER_SYNC_MAX = 3


class CounterReplayed(FleetError):
    """The counter is not greater than the last one this vehicle sent."""

    code: ClassVar[str] = "counter_replayed"


class SyncConflict(FleetError):
    """Another sync of this vehicle was handled at the same time."""

    code: ClassVar[str] = "sync_conflict"
    retryable: ClassVar[bool] = True


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """A replica to send to the car, with its token, its salt and the seconds it has left."""

    token: str
    salt: bytes
    replica: LeasedReplica
    deadline_seconds: float


@dataclass(kw_only=True, slots=True)
class SyncAnswer:
    """What to tell the car. `contracts` has one entry for each batch in `leases`, by batch id."""

    outcomes: list[tuple[str, str]] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    leases: list[Lease] = field(default_factory=list)
    contracts: dict[int, Any] = field(default_factory=dict)
    next_sync_seconds: float = 0.0
    to_review: bool = False


@cache
def _board() -> DispatchBoard:
    return DispatchBoard(settings.FLEET.dispatch_board_seconds)


def sync_vehicle(*, vehicle: KnownVehicle, request: SyncRequest, now: datetime) -> SyncAnswer:
    """Take what a vehicle reports and lease it what it asks for.

    Idempotent: a repeated commitment or hand-back is answered as the first time; a lease whose answer was lost is
    sent again.

    Raises:
        CounterReplayed: nothing changed.
        SyncConflict: nothing changed; the car may try again.
    """
    if request.heartbeat.counter <= vehicle.counter:
        raise CounterReplayed(f"counter {request.heartbeat.counter} is not greater than {vehicle.counter}")
    intake = _open_report(vehicle, request)
    offer = _offer(vehicle, request, intake)
    with transaction.atomic():
        seen = record_sync(
            vehicle,
            request.heartbeat,
            mentioned=intake.mentioned | set(vehicle.open_leases),
            commitments=list(intake.commitments.values()),
            hand_backs=list(intake.hand_backs.values()),
            now=now,
        )
        if seen is None:
            raise SyncConflict
        leased = _lease(vehicle, offer, now)
    answer = SyncAnswer(outcomes=_outcomes(vehicle, intake, seen), cancelled=_cancelled(vehicle, intake, seen))
    answer.to_review = any(code in ("stored", "returned") for _, code in answer.outcomes)
    lost = _lost_leases(vehicle, intake, seen)
    resent = resend_leases(vehicle, lost) if lost else []
    _add_leases(answer, [(replica, settings.FLEET.lease_seconds) for replica in leased])
    _add_leases(answer, [(replica, (deadline_at - now).total_seconds()) for replica, deadline_at in resent])
    return answer


@dataclass(kw_only=True, slots=True)
class _Intake:
    """A sync's tokens, opened and checked. A token that fails here is answered with its error and never reaches SQL."""

    order: list[tuple[str, ReplicaRef | None, str]] = field(default_factory=list)  # token, ref, error code
    commitments: dict[str, CheckedCommitment] = field(default_factory=dict)
    hand_backs: dict[str, HandBack] = field(default_factory=dict)
    held: list[tuple[str, ReplicaRef | None]] = field(default_factory=list)

    @property
    def mentioned(self) -> set[UnitKey]:
        refs = [ref for _, ref, _ in self.order] + [ref for _, ref in self.held]
        return {UnitKey(ref.batch_id, ref.unit_number) for ref in refs if ref is not None}


def _open_report(vehicle: KnownVehicle, request: SyncRequest) -> _Intake:
    key = settings.FLEET_TOKEN_KEY
    intake = _Intake()
    for token in request.held:
        try:
            ref = open_token(key, token)
        except ReplicaUnknown:
            intake.held.append((token, None))
        else:
            intake.held.append((token, ref if ref.owner_id == vehicle.owner_id else None))
    for item in request.commitments:
        _open_item(intake, vehicle, item.token, item)
    for hand_back in request.returned:
        _open_item(intake, vehicle, hand_back.token, hand_back)
    return intake


def _open_item(
    intake: _Intake, vehicle: KnownVehicle, token: str, item: OfferedCommitment | OfferedReturn
) -> None:
    if token in intake.commitments or token in intake.hand_backs:
        return  # said twice in one sync: the first counts
    ref = None
    try:
        ref = open_token(settings.FLEET_TOKEN_KEY, token)
        if ref.owner_id != vehicle.owner_id:
            # A forged token opens to any owner; whether such a replica exists is not this car's business.
            raise ReplicaUnknown if not _exists(ref) else ReplicaNotYours
        if isinstance(item, OfferedReturn):
            state = ReplicaState.ERRORED if item.is_error else ReplicaState.RETURNED
            intake.hand_backs[token] = HandBack(ref=ref, state=state.value, reason=item.reason)
        else:
            intake.commitments[token] = _check_commitment(ref, item)
    except FleetError as refusal:
        intake.order.append((token, None, refusal.code))
    else:
        intake.order.append((token, ref, ""))


class ReplicaNotYours(FleetError):
    """The replica is leased to another vehicle."""

    code: ClassVar[str] = "replica_not_yours"


def _exists(ref: ReplicaRef) -> bool:
    try:
        get_contract(ref.batch_id)
    except BatchUnknown:
        return False
    return True


def _check_commitment(ref: ReplicaRef, item: OfferedCommitment) -> CheckedCommitment:
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
            salt=make_salt(settings.FLEET_TOKEN_KEY, item.token),
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


def _offer(vehicle: KnownVehicle, request: SyncRequest, intake: _Intake) -> VehicleOffer:
    policy = settings.FLEET
    ending = {UnitKey(ref.batch_id, ref.unit_number) for _, ref, _ in intake.order if ref is not None}
    still_held = sum(1 for key in vehicle.open_leases if key not in ending)
    room = max(0, policy.leases_per_vehicle_max - still_held)
    wanted = min(request.wanted, policy.leases_per_sync_max, room) if request.heartbeat.eligible else 0
    return VehicleOffer(
        vehicle_id=vehicle.vehicle_id,
        wanted=wanted,
        memory_bytes=request.heartbeat.memory_bytes,
        opset_max=request.heartbeat.opset_max,
        cached_models=request.cached_models,
        cursor_batch_id=vehicle.cursor_batch_id,
        misses=vehicle.misses,
    )


def _lease(vehicle: KnownVehicle, offer: VehicleOffer, now: datetime) -> list[LeasedReplica]:
    if offer.wanted <= 0:
        return []
    policy = settings.FLEET
    leased: list[LeasedReplica] = []
    chosen: list[OpenBatch] = choose_batches(_board().batches(now), offer, batches_max=BATCHES_PER_SYNC_MAX)
    for batch in chosen:
        leased += lease_replicas(
            vehicle,
            batch_id=batch.batch_id,
            wanted=offer.wanted - len(leased),
            attempts_max=policy.replica_attempts_max,
            now=now,
            deadline_at=now + timedelta(seconds=policy.lease_seconds),
        )
        if len(leased) >= offer.wanted:
            break
    return leased


def _add_leases(answer: SyncAnswer, leased: list[tuple[LeasedReplica, float]]) -> None:
    key = settings.FLEET_TOKEN_KEY
    tokens = seal_tokens(key, [replica.ref for replica, _ in leased]) if leased else []
    for token, (replica, seconds) in zip(tokens, leased, strict=True):
        answer.leases.append(
            Lease(token=token, salt=make_salt(key, token), replica=replica, deadline_seconds=seconds)
        )
        if replica.ref.batch_id not in answer.contracts:
            answer.contracts[replica.ref.batch_id] = get_contract(replica.ref.batch_id)


_LIVE = (ReplicaState.LEASED, ReplicaState.COMMITTED)
_REPORTED_OR_LATER = (
    ReplicaState.REPORTED,
    ReplicaState.VALID,
    ReplicaState.INVALID,
    ReplicaState.INCONCLUSIVE,
    ReplicaState.REVOKED,
)


def _outcomes(
    vehicle: KnownVehicle, intake: _Intake, seen: dict[UnitKey, SeenReplica]
) -> list[tuple[str, str]]:
    outcomes = []
    for token, ref, code in intake.order:
        if ref is not None:
            replica = seen.get(UnitKey(ref.batch_id, ref.unit_number))
            if token in intake.hand_backs:
                code = _hand_back_outcome(vehicle, ref, intake.hand_backs[token], replica)
            else:
                code = _commitment_outcome(vehicle, ref, intake.commitments[token], replica)
        outcomes.append((token, code))
    return outcomes


def _ownership_problem(vehicle: KnownVehicle, ref: ReplicaRef, replica: SeenReplica | None) -> str:
    if replica is None:
        return ReplicaUnknown.code
    if replica.vehicle_id != vehicle.vehicle_id:
        return ReplicaNotYours.code
    if replica.attempt != ref.attempt or replica.state == ReplicaState.EXPIRED:
        return "lease_expired"
    return ""


def _commitment_outcome(
    vehicle: KnownVehicle, ref: ReplicaRef, item: CheckedCommitment, replica: SeenReplica | None
) -> str:
    problem = _ownership_problem(vehicle, ref, replica)
    if problem or replica is None:
        return problem
    if replica.state in _REPORTED_OR_LATER:
        return "stored" if replica.commitment == item.commitment else "replica_ended"
    if replica.state not in _LIVE:
        return "replica_ended"
    if item.output_rows is not None and item.output_rows != replica.rows:
        return "output_malformed"
    if replica.state == ReplicaState.COMMITTED and replica.commitment != item.commitment:
        return "output_digest_mismatch"
    return "upload" if item.output is None else "stored"


def _hand_back_outcome(
    vehicle: KnownVehicle, ref: ReplicaRef, item: HandBack, replica: SeenReplica | None
) -> str:
    problem = _ownership_problem(vehicle, ref, replica)
    if problem or replica is None:
        return problem
    return "returned" if replica.state in (*_LIVE, item.state) else "replica_ended"


def _cancelled(vehicle: KnownVehicle, intake: _Intake, seen: dict[UnitKey, SeenReplica]) -> list[str]:
    cancelled = []
    for token, ref in intake.held:
        replica = seen.get(UnitKey(ref.batch_id, ref.unit_number)) if ref is not None else None
        is_live = (
            ref is not None
            and replica is not None
            and replica.vehicle_id == vehicle.vehicle_id
            and replica.attempt == ref.attempt
            and replica.state in _LIVE
        )
        if not is_live:
            cancelled.append(token)
    return cancelled


def _lost_leases(vehicle: KnownVehicle, intake: _Intake, seen: dict[UnitKey, SeenReplica]) -> list[UnitKey]:
    known = intake.mentioned
    return [
        key
        for key in vehicle.open_leases
        if key not in known and key in seen and seen[key].state == ReplicaState.LEASED
    ]
