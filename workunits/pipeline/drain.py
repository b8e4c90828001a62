"""One drain: look at a batch's queued units under its verdict lock, decide them, and write it all in one statement.

Shared by validate (what cars sent) and resolve (what anchors found). What digests decide is decided as a set; for the
rest the bytes are read and compared outside any transaction, and the verdict is written only if the unit is still what
was compared.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache

from django.conf import settings
from django.db import transaction

from workunits.domain.audits.levels import LEVEL_NUMBER
from workunits.domain.audits.rows import AuditedUnit, Decision, Odds
from workunits.domain.audits.verdict import is_plain, judge_audited
from workunits.domain.errors import FleetError
from workunits.domain.quorum import RetryLimits
from workunits.domain.replicas import ReplicaRole
from workunits.domain.states import BatchStatus, ReplicaState, UnitState
from workunits.pipeline.measure import BytesNeeded, Measures
from workunits.pipeline.quorums import judge_quorum
from workunits.store.anchors import is_anchor_alive
from workunits.store.batches import SpecsBook, start_finalizing
from workunits.store.verdicts import (
    BatchTurn,
    ChangedUnit,
    DecidedUnit,
    UnitReview,
    Verdicts,
    apply_verdicts,
    lock_verdicts,
    read_outputs,
    take_reviews,
)

log = logging.getLogger(__name__)

# Outputs of so many doubtful units are held in memory at once.
DOUBTS_AT_ONCE = 16
# Draws decide what is audited and by whom: nobody may guess them.
_random = secrets.SystemRandom().random


def drain_batch(*, batch_id: int, now: datetime, only: list[int] | None = None) -> tuple[bool, bool]:
    """Drain one batch's reviews once; return whether there were more, and whether all its units are decided now.

    `only`: look at these units and no others.
    """
    reviews_max = settings.FLEET.validate_units_per_drain
    doubts: list[UnitReview] = []
    with transaction.atomic():
        turn = lock_verdicts(batch_id)
        if turn is None:
            return False, False  # another worker drains it
        reviews = take_reviews(turn, reviews_max=reviews_max, only=only)
        verdicts, odds, book = Verdicts(), _odds(now), SpecsBook(batch_id)
        for review in reviews:
            try:
                verdicts.add(_judge(turn, review, None, odds, book))
            except BytesNeeded:
                doubts.append(review)
        finished = _write(turn, verdicts, now)
    has_more = sum(len(review.review_ids) for review in reviews) == reviews_max
    for start in range(0, len(doubts), DOUBTS_AT_ONCE):
        is_finished = _drain_doubts(turn, doubts[start : start + DOUBTS_AT_ONCE], now)
        finished = finished or is_finished
    return has_more, finished


def _drain_doubts(seen: BatchTurn, doubts: Sequence[UnitReview], now: datetime) -> bool:
    odds, book = _odds(now), SpecsBook(seen.batch_id)
    prepared: dict[int, tuple[UnitReview, Verdicts]] = {}
    for review in doubts:
        try:
            outputs = read_outputs(seen.batch_id, review.number)
            prepared[review.number] = review, _judge(seen, review, outputs, odds, book)
        except FleetError:  # its bytes are gone, say: it stays queued, and keeps no other unit waiting
            log.exception("unit %s of batch %s cannot be judged", review.number, seen.batch_id)
    with transaction.atomic():
        turn = lock_verdicts(seen.batch_id)
        if turn is None:
            return False  # whoever holds the lock, or the next sweep, finds the reviews again
        verdicts = Verdicts()
        reviews_max = settings.FLEET.validate_units_per_drain
        for fresh in take_reviews(turn, reviews_max=reviews_max, only=list(prepared)):
            review, verdict = prepared[fresh.number]
            # A review that came meanwhile looks at the unit once more.
            if fresh.facts == review.facts:
                verdicts.add(verdict)
        return _write(turn, verdicts, now)


def _write(turn: BatchTurn, verdicts: Verdicts, now: datetime) -> bool:
    if verdicts.is_empty:
        return False
    units_open = apply_verdicts(turn, verdicts, now=now)
    is_running = turn.status in (BatchStatus.IN_PROGRESS, BatchStatus.PAUSED)
    return units_open == 0 and is_running and start_finalizing(turn.batch_id, now=now)


def _odds(now: datetime) -> Odds:
    policy = settings.FLEET
    return Odds(
        now=now,
        random=_random,
        has_anchor=cache(lambda: is_anchor_alive(now)),  # asked once a drain
        limits=_limits(),
        other_class_ratio=policy.audit_other_class_ratio,
        delay_seconds=policy.audit_delay_seconds,
        patience_seconds=policy.audit_patience_seconds,
    )


def _limits() -> RetryLimits:
    policy = settings.FLEET
    return RetryLimits(
        errors_max=policy.unit_errors_max,
        expiries_max=policy.unit_expiries_max,
        outputs_max=policy.unit_replicas_max,
    )


def _judge(
    turn: BatchTurn, review: UnitReview, outputs: Mapping[int, bytes] | None, odds: Odds, book: SpecsBook
) -> Verdicts:
    """Return the verdict on one unit. `outputs` by owner; None while only digests may be looked at."""
    measures = Measures(turn.batch_id, review.number, outputs, book)
    if not turn.is_audited:
        return judge_quorum(review, turn.quorum, measures, odds.limits)
    is_floor = review.state == UnitState.OPEN and odds.random() < settings.FLEET.anchor_floor_ratio
    if not is_floor and is_plain(review.state, review.replicas):
        return _accept_plain(review)
    unit = AuditedUnit(
        state=review.state,
        needed=review.needed,
        canonical_owner_id=review.canonical_owner_id,
        is_final=review.is_final,
        replicas=review.replicas,
        level=LEVEL_NUMBER[turn.level],
        audit=review.audits.open,
        is_settled=review.canonical_owner_id in review.audits.settled_owner_ids,
        has_run=review.audits.has_run,
        has_failed_run=review.audits.has_failed_run,
        is_floor=is_floor,
    )
    return _as_verdicts(review, judge_audited(unit, measures, odds))


def _accept_plain(review: UnitReview) -> Verdicts:
    """Believe a first output that no draw chose; what `judge_audited` says of it, at a fraction of its cost."""
    owner_id, number = review.replicas[0].owner_id, review.number
    return Verdicts(
        review_ids=review.review_ids,
        replicas=[(number, owner_id, ReplicaState.VALID.value, ReplicaRole.PRIMARY.value)],
        decided=[DecidedUnit(number, UnitState.VALIDATED.value, owner_id, "", is_final=False)],
    )


def _as_verdicts(review: UnitReview, decision: Decision) -> Verdicts:
    number = review.number
    verdicts = Verdicts(
        review_ids=list(review.review_ids) if decision.is_done else [],
        replicas=[(number, owner_id, state, role) for owner_id, state, role in decision.replicas],
        asked=[(number, owner_id) for owner_id in decision.asked],
        audits=[(number, audit) for audit in decision.audits],
    )
    if decision.run_reason:
        audit = review.audits.open
        verdicts.runs.append((number, decision.run_reason, None if audit is None else audit.id))
    if review.state == UnitState.OPEN and decision.decided is not None:
        state, owner_id, reason = decision.decided
        verdicts.decided.append(
            DecidedUnit(number, state, owner_id, reason[:300], decision.is_final, decision.needed, decision.confirmed)
        )
    elif decision.decided is not None or decision.confirmed or decision.needed != review.needed:
        verdicts.changed.append(
            ChangedUnit(
                number,
                decision.needed,
                decision.confirmed,
                adopts=decision.is_final,
                is_newly_final=decision.is_final and not review.is_final,
            )
        )
    return verdicts
