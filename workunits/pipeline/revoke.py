"""Revoke: what follows from a lost audit, in the order in which the vehicle committed itself.

In: audits that failed. Moves: a vehicle's trust -> nothing, its standing -> WATCHED or QUARANTINED; replica VALID ->
REVOKED, REPORTED/COMMITTED -> CANCELLED; unit VALIDATED/ASSEMBLED -> OPEN, or CANCELLED where its batch has ended;
batch FINALIZING/COMPLETED -> IN_PROGRESS, whose files are written anew; provisional pay -> revoked.

In two steps, since a vehicle has results in many batches: what is to be taken back is queued with the reset, then taken
back batch by batch under the verdict lock of each. A result that is queued counts for nothing from then on.
"""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from workunits.domain.audits.fold import judge_losses
from workunits.domain.errors import carry_on
from workunits.store.revocations import list_batches_to_revoke, lock_batch, reopen_batch, take_back
from workunits.store.standings import begin_standing, end_life, list_losing_vehicles, lock_losing_vehicle, queue_losses
from workunits.store.verdicts import lock_verdicts

VEHICLES_AT_ONCE = 200
UNITS_AT_ONCE = 1_000


def settle_failures(*, now: datetime) -> int:
    """Reset every vehicle that lost an audit and queue what that takes back; return how many vehicles."""
    losing = list_losing_vehicles(vehicles_max=VEHICLES_AT_ONCE)
    return sum(carry_on(losing, lambda vehicle_id: _settle(vehicle_id, now)))


def _settle(vehicle_id: int, now: datetime) -> bool:
    begin_standing(vehicle_id)
    with transaction.atomic():
        vehicle = lock_losing_vehicle(vehicle_id)
        if vehicle is None:
            return False
        losses = judge_losses(
            [(audit.sequence, audit.id) for audit in vehicle.failures],
            vehicle.record.marks,
            vehicle.record.finals,
            resets=vehicle.record.life_ends,
            committed=vehicle.committed,
        )
        queue_losses(vehicle, losses, now=now)
        if losses.ends_life:
            end_life(vehicle, now=now)
        return True


def apply_revocations(*, now: datetime) -> int:
    """Take back what is queued, batch by batch; return how many units lost their result."""
    return sum(carry_on(list_batches_to_revoke(), lambda batch_id: _apply(batch_id, now)))


def _apply(batch_id: int, now: datetime) -> int:
    units = 0
    while True:
        with transaction.atomic():
            turn = lock_verdicts(batch_id)
            if turn is None:
                return units  # whoever holds the lock, or the next sweep, finds the queue again
            batch = lock_batch(turn)
            taken = take_back(turn, batch, units_max=UNITS_AT_ONCE, now=now)
            if taken is None:
                return units
            reopen_batch(batch, taken, now=now)
        units += taken.units
