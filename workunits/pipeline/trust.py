"""Trust: what vehicles have been believed, and with it what is final.

In: vehicles with fresh verdicts. Out: weights of vehicle, comparison class and model at each level, from which the next
draws are made. Moves: result provisional -> final, with its pay and its unit; audit, opened by force, of what has
been provisional for too long; standing WATCHED or QUARANTINED -> NORMAL, by an operator. Any number of workers may
fold.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from datetime import datetime, timedelta
from itertools import groupby

from django.conf import settings
from django.db import transaction

from workunits.domain.audits.fold import find_finals, fold_commits
from workunits.domain.audits.rows import ANCHOR, CAR, FORCED, AuditRow
from workunits.domain.errors import carry_on
from workunits.pipeline.draws import audit_rules
from workunits.store.anchors import is_anchor_alive
from workunits.store.audits import open_audits
from workunits.store.standings import lift_standing
from workunits.store.trust_weights import (
    DueVehicle,
    FoldedVehicle,
    HeldResult,
    claim_due,
    finalise_batch,
    list_final_batches,
    list_held_results,
    write_fold,
)
from workunits.store.verdicts import lock_verdicts

VEHICLES_PER_FOLD = 100
COMMITS_PER_FOLD = 1_000
HELD_PER_SWEEP = 500
_random = secrets.SystemRandom().random


def fold_trust(*, now: datetime) -> int:
    """Fold the trust of every vehicle with fresh verdicts and make final what that covers; return how many vehicles."""
    count, last = 0, 0
    while True:
        with transaction.atomic():
            looked_at, due = claim_due(after=last, vehicles_max=VEHICLES_PER_FOLD, commits_max=COMMITS_PER_FOLD)
            if looked_at is None:
                return count
            if due:
                write_fold([_fold(vehicle) for vehicle in due], now=now)
        if due:
            _finalise([vehicle.vehicle_id for vehicle in due], now)
        count, last = count + len(due), looked_at


def _fold(vehicle: DueVehicle) -> FoldedVehicle:
    folded = fold_commits(
        vehicle.commits, vehicle.weights, folded=vehicle.folded, began=vehicle.began, rules=audit_rules()
    )
    levels = {mark.level for mark in vehicle.marks}
    found = find_finals(vehicle.marks, levels, resets=vehicle.life_ends, folded=folded.upto)
    finals = {level: upto for level, upto in found.items() if upto > vehicle.finals.get(level, 0)}
    has_more = len(vehicle.commits) == COMMITS_PER_FOLD and folded.upto == vehicle.commits[-1].sequence
    return FoldedVehicle(vehicle, folded, finals, is_due=has_more)


def _finalise(vehicles: Collection[int], now: datetime) -> None:
    def finalise(batch_id: int) -> None:
        with transaction.atomic():
            turn = lock_verdicts(batch_id)
            if turn is not None:  # else its vehicles stay due
                finalise_batch(turn, vehicles, now=now)

    carry_on(list_final_batches(vehicles), finalise)


def force_audits(*, now: datetime) -> int:
    """Audit the latest result of each vehicle and level where one was provisional for too long; return how many."""
    has_anchor = is_anchor_alive(now)
    held = list_held_results(
        held_before=now - timedelta(seconds=settings.FLEET.hold_seconds),
        has_anchor=has_anchor,
        turn=int(now.timestamp()),
        results_max=HELD_PER_SWEEP,
    )
    opened = 0
    for batch_id, results in groupby(held, key=lambda result: result.batch_id):
        with transaction.atomic():
            if lock_verdicts(batch_id) is not None:
                opened += open_audits(batch_id, [(each.unit_number, _forced(each, now)) for each in results], now)
    return opened


def _forced(result: HeldResult, now: datetime) -> AuditRow:
    return AuditRow(
        owner_id=result.owner_id,
        vehicle_id=result.vehicle_id,
        sequence=result.sequence,
        level=result.level,
        weight=result.weight,
        reason=FORCED,
        needs=CAR if result.is_leasing else ANCHOR,
        opens_at=now + timedelta(seconds=_random() * settings.FLEET.audit_delay_seconds),
        primary_class=result.comparison_class,
    )


def release_vehicle(*, vehicle_id: int, reason: str, now: datetime) -> bool:
    """Let a watched or quarantined vehicle work as any other again; False where it is neither.

    Its trust stays what it is, nothing after a reset; its resets are forgotten, so that the next one is its first.
    """
    with transaction.atomic():
        return lift_standing(vehicle_id, reason=reason, now=now)
