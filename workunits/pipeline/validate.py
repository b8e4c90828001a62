"""Validate: decide work units from what different owners' cars returned.

In: units queued for review. Moves: replica REPORTED -> VALID, INVALID or INCONCLUSIVE, LEASED/COMMITTED -> CANCELLED;
unit OPEN -> VALIDATED or FAILED, or asked for again. Verdict and earning item share a statement (`apply_verdicts`).
A drain belongs to one batch, whose progress row it holds, so that the verdicts of a batch follow each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from django.conf import settings
from django.db import transaction

from workunits.domain.grouping import CandidateOutput, decide, place
from workunits.domain.quorum import Agreement, Judgement, ReplicaView, RetryLimits, agree_on_digest, judge_unit
from workunits.domain.states import BatchStatus, ReplicaState, UnitState
from workunits.store.batches import get_comparison_specs, start_finalizing
from workunits.store.verdicts import (
    BatchTurn,
    UnitReview,
    Verdicts,
    apply_verdicts,
    list_batches_to_review,
    lock_verdicts,
    read_outputs,
    take_reviews,
)

# Outputs of so many doubtful units are held in memory at once.
DOUBTS_AT_ONCE = 16
# Full drains of one batch in one call; the rest is left to the next nudge, so that no batch keeps others waiting.
DRAINS_MAX = 20


class _NeedsBytes(Exception):
    """The digests differ, so the outputs themselves must be read, outside the transaction."""


def validate_ready(*, now: datetime) -> bool:
    """Drain every batch that has something to review; return whether one of them has all units decided.

    What is reported meanwhile is left to the next nudge: verdicts cost three times as much in handfuls as in hundreds.
    """
    finished = False
    for batch_id in list_batches_to_review():
        for _ in range(DRAINS_MAX):
            has_more, is_finished = validate_batch(batch_id=batch_id, now=now)
            finished = finished or is_finished
            if not has_more:
                break
    return finished


def validate_batch(*, batch_id: int, now: datetime) -> tuple[bool, bool]:
    """Drain one batch's reviews once; return whether there were more, and whether all its units are decided.

    Units whose outputs are bitwise equal are decided as a set. For the others the bytes are read and compared outside
    any transaction; they get their verdict under the lock, provided that nothing has changed meanwhile.
    """
    reviews_max = settings.FLEET.validate_units_per_drain
    doubts: list[UnitReview] = []
    with transaction.atomic():
        turn = lock_verdicts(batch_id)
        if turn is None:
            return False, False  # another worker drains it
        reviews = take_reviews(batch_id, reviews_max=reviews_max)
        verdicts = Verdicts()
        for review in reviews:
            try:
                verdicts.add(_judge(batch_id, turn.quorum, review, None))
            except _NeedsBytes:
                doubts.append(review)
        finished = _write(turn, verdicts, now)
    has_more = sum(len(review.review_ids) for review in reviews) == reviews_max
    for start in range(0, len(doubts), DOUBTS_AT_ONCE):
        is_finished = _validate_doubts(batch_id, turn.quorum, doubts[start : start + DOUBTS_AT_ONCE], now)
        finished = finished or is_finished
    return has_more, finished


def _validate_doubts(batch_id: int, quorum: int, doubts: Sequence[UnitReview], now: datetime) -> bool:
    prepared = {
        review.number: (review, _judge(batch_id, quorum, review, read_outputs(batch_id, review.number)))
        for review in doubts
    }
    with transaction.atomic():
        turn = lock_verdicts(batch_id)
        if turn is None:
            return False  # whoever holds the lock, or the next sweep, finds the reviews again
        verdicts = Verdicts()
        reviews_max = settings.FLEET.validate_units_per_drain
        for fresh in take_reviews(batch_id, reviews_max=reviews_max, only=list(prepared)):
            review, verdict = prepared[fresh.number]
            # A review that came meanwhile looks at the unit once more.
            if (fresh.state, fresh.replicas) == (review.state, review.replicas):
                verdicts.add(verdict)
        return _write(turn, verdicts, now)


def _write(turn: BatchTurn, verdicts: Verdicts, now: datetime) -> bool:
    if not verdicts.review_ids:
        return False
    units_open = apply_verdicts(turn, verdicts, now=now)
    is_running = turn.status in (BatchStatus.IN_PROGRESS, BatchStatus.PAUSED)
    return units_open == 0 and is_running and start_finalizing(turn.batch_id, now=now)


def _judge(batch_id: int, quorum: int, review: UnitReview, outputs: dict[int, bytes] | None) -> Verdicts:
    """Return the verdict on one unit. `outputs` by owner; None while only digests may be looked at."""
    verdicts = Verdicts(review_ids=list(review.review_ids))
    if review.state == UnitState.OPEN:
        compare = _comparer(batch_id, outputs)
        judgement = judge_unit(review.replicas, quorum=quorum, limits=_limits(), compare=compare)
        _record(review, judgement, verdicts)
    else:
        verdicts.replicas = [
            (review.number, replica.owner_id, _judge_late(batch_id, review, replica, outputs).value)
            for replica in review.replicas
            if replica.state == ReplicaState.REPORTED
        ]
    return verdicts


def _limits() -> RetryLimits:
    policy = settings.FLEET
    return RetryLimits(
        errors_max=policy.unit_errors_max,
        expiries_max=policy.unit_expiries_max,
        outputs_max=policy.unit_replicas_max,
    )


def _comparer(
    batch_id: int, outputs: dict[int, bytes] | None
) -> Callable[[Sequence[ReplicaView], int], Agreement | None]:
    def compare(reported: Sequence[ReplicaView], quorum: int) -> Agreement | None:
        agreement = agree_on_digest(reported)
        if agreement is not None:
            return agreement
        if outputs is None:
            raise _NeedsBytes
        candidates = [CandidateOutput(owner_id=r.owner_id, digest=r.digest or b"") for r in reported]
        return decide(candidates, quorum, outputs.__getitem__, get_comparison_specs(batch_id))

    return compare


def _record(review: UnitReview, judgement: Judgement, verdicts: Verdicts) -> None:
    number = review.number
    verdicts.replicas += [(number, owner, ReplicaState.CANCELLED.value) for owner in judgement.cancelled]
    if judgement.agreement is not None:
        agreement = judgement.agreement
        verdicts.decided.append((number, UnitState.VALIDATED.value, agreement.canonical_owner_id, ""))
        verdicts.replicas += [(number, owner, ReplicaState.VALID.value) for owner in agreement.valid]
        verdicts.replicas += [(number, owner, ReplicaState.INVALID.value) for owner in agreement.invalid]
        verdicts.replicas += [(number, owner, ReplicaState.INCONCLUSIVE.value) for owner in agreement.inconclusive]
    elif judgement.failure:
        verdicts.decided.append((number, UnitState.FAILED.value, None, judgement.failure[:300]))
        verdicts.replicas += [
            (number, replica.owner_id, ReplicaState.INCONCLUSIVE.value)
            for replica in review.replicas
            if replica.state == ReplicaState.REPORTED
        ]
    elif judgement.needed != review.needed:
        verdicts.wanting.append((number, judgement.needed))


def _judge_late(
    batch_id: int, review: UnitReview, replica: ReplicaView, outputs: dict[int, bytes] | None
) -> ReplicaState:
    """Judge an output that came in while the verdict was being written: by the canonical one, and paid alike."""
    canonical = next((r for r in review.replicas if r.owner_id == review.canonical_owner_id), None)
    if canonical is None:
        return ReplicaState.INCONCLUSIVE  # the unit failed or was cancelled: nothing to measure by
    if replica.digest == canonical.digest:
        return ReplicaState.VALID
    if outputs is None:
        raise _NeedsBytes
    return place(outputs[canonical.owner_id], outputs[replica.owner_id], get_comparison_specs(batch_id))
