"""Dispatch: one sync of a vehicle, from what it reports to what it is given.

In: an authenticated vehicle and its parsed sync. Out: what to answer. Moves: replica LEASED -> COMMITTED or REPORTED
(bytes inline), LEASED/COMMITTED -> RETURNED or ERRORED, (new) -> LEASED. Whatever number of replicas a sync reports and
asks for, it is one call of the database: one statement to record it and one for each batch it leases from.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any, ClassVar

from django.conf import settings

from workunits.domain.audits.standing import Standing
from workunits.domain.eligibility import VehicleOffer, choose_batches
from workunits.domain.errors import FleetError
from workunits.domain.tokens import make_salt, seal_tokens
from workunits.domain.types import UnitKey
from workunits.pipeline.draws import Believed, draw_place
from workunits.pipeline.report import (
    Report,
    SyncRequest,
    list_cancelled,
    list_lost_leases,
    list_outcomes,
    open_report,
)
from workunits.store.board import DispatchBoard, get_contract
from workunits.store.leases import LeasedReplica, LeaseWish, resend_leases
from workunits.store.leases import sync_vehicle as store_sync
from workunits.store.vehicles import KnownVehicle

# A sync may fill up from this many batches of its lane; the first nearly always has enough.
BATCHES_PER_SYNC_MAX = 3
_shuffle = secrets.SystemRandom().shuffle


class CounterReplayed(FleetError):
    """The counter is not greater than the last one this vehicle sent."""

    code: ClassVar[str] = "counter_replayed"


class SyncConflict(FleetError):
    """Another sync of this vehicle was handled at the same time."""

    code: ClassVar[str] = "sync_conflict"
    retryable: ClassVar[bool] = True


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
    policy = settings.FLEET
    report = open_report(vehicle, request)
    believed = Believed(
        vehicle=vehicle,
        comparison_class=request.heartbeat.comparison_class,
        gives_up=bool(report.hand_backs),
        now=now,
    )
    # In the order in which verdicts lock the same replicas.
    offered = sorted(report.commitments.values(), key=lambda item: item.ref)
    commitments = [believed.draw_for(item) for item in offered]
    offer = _offer(believed, request, report)
    chosen = choose_batches(_board().batches(now), offer, batches_max=BATCHES_PER_SYNC_MAX) if offer.wanted else []
    synced = store_sync(
        vehicle,
        request.heartbeat,
        mentioned=report.mentioned | set(vehicle.open_leases),
        commitments=commitments,
        hand_backs=list(report.hand_backs.values()),
        wish=LeaseWish(
            batches=[believed.wish(batch) for batch in chosen],
            any_place=draw_place(),
            wanted=offer.wanted,
            attempts_max=policy.replica_attempts_max,
            deadline_at=now + timedelta(seconds=policy.lease_seconds),
        ),
        kept_until=now + timedelta(seconds=policy.output_kept_seconds),
        audits_from=now + timedelta(seconds=policy.audit_rest_seconds),
        now=now,
    )
    if synced is None:
        raise SyncConflict
    seen = synced.seen
    answer = SyncAnswer(outcomes=list_outcomes(vehicle, report, seen), cancelled=list_cancelled(vehicle, report, seen))
    answer.to_review = any(code in ("stored", "returned", "keep") for _, code in answer.outcomes)
    lost = list_lost_leases(vehicle, report, seen) if vehicle.may_lease else []
    resent = resend_leases(vehicle, lost) if lost else []
    # What is urgent comes first from the database, in what is sent again as well; the order must not tell an audit.
    _shuffle(synced.leased)
    _shuffle(resent)
    _add_leases(answer, [(replica, policy.lease_seconds) for replica in synced.leased])
    _add_leases(answer, [(replica, (deadline_at - now).total_seconds()) for replica, deadline_at in resent])
    return answer


def _offer(believed: Believed, request: SyncRequest, report: Report) -> VehicleOffer:
    policy, vehicle = settings.FLEET, believed.vehicle
    ending = {UnitKey(ref.batch_id, ref.unit_number) for _, ref, _ in report.order if ref is not None}
    still_held = sum(1 for key in vehicle.open_leases if key not in ending)
    room = max(0, policy.leases_per_vehicle_max - still_held)
    may_lease = request.heartbeat.eligible and vehicle.may_lease and vehicle.standing is not Standing.QUARANTINED
    wanted = min(request.wanted, policy.leases_per_sync_max, room) if may_lease else 0
    return VehicleOffer(
        vehicle_id=vehicle.vehicle_id,
        wanted=wanted,
        memory_bytes=request.heartbeat.memory_bytes,
        opset_max=request.heartbeat.opset_max,
        cached_models=request.cached_models,
        cursor_batch_id=vehicle.cursor_batch_id,
        misses=vehicle.misses,
        owner_id=vehicle.owner_id,
        waiting_levels=believed.waiting_levels() if vehicle.unresolved else frozenset(),
    )


def _add_leases(answer: SyncAnswer, leased: list[tuple[LeasedReplica, float]]) -> None:
    key = settings.FLEET_TOKEN_KEY
    tokens = seal_tokens(key, [replica.ref for replica, _ in leased]) if leased else []
    for token, (replica, seconds) in zip(tokens, leased, strict=True):
        answer.leases.append(Lease(token=token, salt=make_salt(key, token), replica=replica, deadline_seconds=seconds))
        if replica.ref.batch_id not in answer.contracts:
            answer.contracts[replica.ref.batch_id] = get_contract(replica.ref.batch_id)
