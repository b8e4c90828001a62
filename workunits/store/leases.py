"""What a sync writes and reads: the function `sync_vehicle` and the SQL of `resend_leases`, in Python values."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from workunits.domain.audits.draws import DrawRule
from workunits.domain.places import PLACES
from workunits.domain.tokens import ReplicaRef
from workunits.domain.types import UnitKey
from workunits.store.board import get_lane
from workunits.store.db import call_function, fetch_all
from workunits.store.vehicles import KnownVehicle


@dataclass(frozen=True, kw_only=True, slots=True)
class Heartbeat:
    """What a car says of itself in a sync. `reasons` are codes; never a position."""

    counter: int
    eligible: bool
    reasons: Sequence[str]
    agent: str
    comparison_class: str
    memory_bytes: int
    opset_max: int


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedCommitment:
    """A commitment whose inline output, if any, has been checked against digest and contract.

    `output`, `output_digest` and `output_rows` are None where the bytes come later, by upload.
    """

    ref: ReplicaRef
    commitment: bytes
    sketch: bytes | None
    output_bytes: int
    output: bytes | None
    output_digest: bytes | None
    output_rows: int | None
    seconds: float
    draw: Draw | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Draw:
    """How a commitment is drawn: a random number, and the rule that its unit's weight is put into (DrawRule)."""

    level: int
    model_id: int
    number: float
    rule: DrawRule


@dataclass(frozen=True, kw_only=True, slots=True)
class HandBack:
    """A replica that the car gives up: `RETURNED` without blame, or `ERRORED`."""

    ref: ReplicaRef
    state: str
    reason: str


class SeenReplica(NamedTuple):
    """A replica that the sync mentioned, as it was before the sync, and whether the sync moved it."""

    vehicle_id: int
    attempt: int
    state: str
    rows: int
    commitment: bytes | None
    has_moved: bool
    role: int = 0
    bytes_wanted: bool = False


class LeasedReplica(NamedTuple):
    """A lease to send: which replica, and where its input lies."""

    ref: ReplicaRef
    rows: int
    shard_sha256: str
    byte_start: int
    byte_end: int
    input_digest: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchWish:
    """What to lease from one batch: from which place on to look for what is urgent, and how many known answers.

    Audits only where they opened by `audits_by`, none where it is None, and so that the vehicle holds at most
    `audits_max`. New units only where `new_units` is True.
    """

    batch_id: int
    new_units: bool = True
    start: int = 0
    known: int = 0
    audits_by: datetime | None = None
    audits_max: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class LeaseWish:
    """What to lease in a sync: up to `wanted` replicas, from these batches in this order.

    `any_place`: a place drawn at random, from which on known answers are looked for.
    """

    batches: Sequence[BatchWish]
    wanted: int
    any_place: int
    attempts_max: int
    deadline_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncedReplicas:
    """What a sync found, each replica as it was before, and what it leased."""

    seen: dict[UnitKey, SeenReplica]
    leased: list[LeasedReplica]


def sync_vehicle(
    vehicle: KnownVehicle,
    heartbeat: Heartbeat,
    *,
    mentioned: Collection[UnitKey],
    commitments: Sequence[CheckedCommitment],
    hand_backs: Sequence[HandBack],
    wish: LeaseWish,
    kept_until: datetime,
    audits_from: datetime,
    now: datetime,
) -> SyncedReplicas | None:
    """Write all that the car reports, and lease it what it may have; one statement, and so one transaction.

    `kept_until`: until when a re-run's bytes may be asked for. `audits_from`: from when on the vehicle gets audits
    again if it gives one up. Returns None, having changed nothing, where another sync of this car moved the counter
    since `vehicle` was read, or its trust was reset.
    """
    batch_ids = [each.batch_id for each in wish.batches]
    rows = call_function(
        _function_for({key.batch_id for key in mentioned} | set(batch_ids)),
        {
            **_report_parameters(vehicle, heartbeat, mentioned, commitments, hand_backs, now),
            "trust_life": vehicle.trust_life,
            "kept_until": kept_until,
            "audits_from": audits_from,
            "cluster_owners": list(vehicle.cluster_owner_ids),
            "lease_batches": batch_ids,
            "lease_cursors": [_cursor(vehicle, each) for each in wish.batches],
            "lease_starts": [each.start for each in wish.batches],
            "any_place": wish.any_place,
            "lease_knowns": [each.known for each in wish.batches],
            "lease_audits_by": [each.audits_by for each in wish.batches],
            "lease_audits_max": [each.audits_max for each in wish.batches],
            "wanted": wish.wanted,
            "attempts_max": wish.attempts_max,
            "deadline_at": wish.deadline_at,
        },
    )
    return _read_rows(vehicle, rows) if rows else None


def _cursor(vehicle: KnownVehicle, wish: BatchWish) -> int:
    if not wish.new_units:
        return PLACES  # behind the last one
    return vehicle.cursor_unit_number if vehicle.cursor_batch_id == wish.batch_id else -1


def _function_for(batch_ids: set[int]) -> str:
    """Return the function of the one lane that a sync speaks of; a car that moves on to another speaks of two, once."""
    lanes = {get_lane(batch_id) for batch_id in batch_ids} or {0}
    lane = lanes.pop()
    return "sync_vehicle" if lanes or lane is None else f"sync_vehicle_{lane}"


def _read_rows(vehicle: KnownVehicle, rows: list[tuple[Any, ...]]) -> SyncedReplicas:
    moved = {(row[1], row[2]) for row in rows if row[0] == "moved"}
    seen: dict[UnitKey, SeenReplica] = {}
    leased: list[LeasedReplica] = []
    for kind, batch_id, number, vehicle_id, attempt, state, row_count, digest, *more in rows:
        shard, start, end, role, bytes_wanted = more
        if kind == "seen":
            commitment = None if digest is None else bytes(digest)
            seen[UnitKey(batch_id, number)] = SeenReplica(
                vehicle_id, attempt, state, row_count, commitment, (batch_id, number) in moved, role, bytes_wanted
            )
        elif kind == "leased":
            ref = ReplicaRef(batch_id, number, vehicle.owner_id, attempt)
            leased.append(LeasedReplica(ref, row_count, shard, start, end, bytes(digest)))
    return SyncedReplicas(seen=seen, leased=leased)


def _report_parameters(
    vehicle: KnownVehicle,
    heartbeat: Heartbeat,
    mentioned: Collection[UnitKey],
    commitments: Sequence[CheckedCommitment],
    hand_backs: Sequence[HandBack],
    now: datetime,
) -> dict[str, Any]:
    return {
        "vehicle_id": vehicle.vehicle_id,
        "owner_id": vehicle.owner_id,
        "counter_seen": vehicle.counter,
        "counter": heartbeat.counter,
        "now": now,
        "eligible": heartbeat.eligible,
        "reasons": list(heartbeat.reasons),
        "agent": heartbeat.agent,
        "comparison_class": heartbeat.comparison_class,
        "memory_bytes": heartbeat.memory_bytes,
        "opset_max": heartbeat.opset_max,
        "batches": list({key.batch_id for key in mentioned}),
        "seen_batches": [key.batch_id for key in mentioned],
        "seen_units": [key.unit_number for key in mentioned],
        "commit_batches": [item.ref.batch_id for item in commitments],
        "commit_units": [item.ref.unit_number for item in commitments],
        "commit_attempts": [item.ref.attempt for item in commitments],
        "commitments": [item.commitment for item in commitments],
        "sketches": [item.sketch for item in commitments],
        "output_sizes": [item.output_bytes for item in commitments],
        "outputs": [item.output for item in commitments],
        "output_digests": [item.output_digest for item in commitments],
        "output_rows": [item.output_rows for item in commitments],
        "seconds": [item.seconds for item in commitments],
        **_draw_parameters([(item.ref, item.draw) for item in commitments if item.draw is not None]),
        "end_batches": [item.ref.batch_id for item in hand_backs],
        "end_units": [item.ref.unit_number for item in hand_backs],
        "end_attempts": [item.ref.attempt for item in hand_backs],
        "end_states": [item.state for item in hand_backs],
        "end_reasons": [item.reason for item in hand_backs],
    }


def _draw_parameters(draws: Sequence[tuple[ReplicaRef, Draw]]) -> dict[str, Any]:
    return {
        "draw_batches": [ref.batch_id for ref, _ in draws],
        "draw_units": [ref.unit_number for ref, _ in draws],
        "draw_attempts": [ref.attempt for ref, _ in draws],
        "draw_levels": [draw.level for _, draw in draws],
        "draw_models": [draw.model_id for _, draw in draws],
        "draw_numbers": [draw.number for _, draw in draws],
        "draw_reserves": [draw.rule.reserve for _, draw in draws],
        "draw_own_factors": [draw.rule.own_factor for _, draw in draws],
        "draw_floors": [draw.rule.floor for _, draw in draws],
        "draw_certains": [draw.rule.certain_above for _, draw in draws],
        "draw_youngs": [draw.rule.young_above for _, draw in draws],
    }


def resend_leases(vehicle: KnownVehicle, lost: Sequence[UnitKey]) -> list[tuple[LeasedReplica, datetime]]:
    """Return the leases among `lost` that still stand, each with its deadline, to be sent again."""
    rows = fetch_all(
        "resend_leases",
        {
            "vehicle_id": vehicle.vehicle_id,
            "owner_id": vehicle.owner_id,
            "batches": [key.batch_id for key in lost],
            "units": [key.unit_number for key in lost],
        },
    )
    return [
        (
            LeasedReplica(
                ReplicaRef(batch_id, number, vehicle.owner_id, attempt), row_count, shard, start, end, bytes(digest)
            ),
            deadline_at,
        )
        for batch_id, number, attempt, row_count, shard, start, end, digest, deadline_at in rows
    ]
