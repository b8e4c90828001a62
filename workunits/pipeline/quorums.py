"""The verdict on a unit of a level with a quorum: enough outputs of different owners agree, or more are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from workunits.domain.comparison import MATCH_MAX, MISMATCH_MIN
from workunits.domain.grouping import CandidateOutput, decide
from workunits.domain.quorum import Agreement, Judgement, ReplicaView, RetryLimits, agree_on_digest, judge_unit
from workunits.domain.states import ReplicaState, UnitState
from workunits.pipeline.measure import Measures
from workunits.store.verdicts import ChangedUnit, DecidedUnit, UnitReview, Verdicts


def judge_quorum(review: UnitReview, quorum: int, measures: Measures, limits: RetryLimits) -> Verdicts:
    """Return the verdict on one unit. Raises BytesNeeded where digests do not decide and outputs were not read."""
    verdicts = Verdicts(review_ids=list(review.review_ids))
    if review.state == UnitState.OPEN:
        compare = _comparer(measures)
        _record(review, judge_unit(review.replicas, quorum=quorum, limits=limits, compare=compare), verdicts)
    else:
        verdicts.replicas = [
            (review.number, replica.owner_id, _judge_late(review, replica, measures).value, replica.role)
            for replica in review.replicas
            if replica.state == ReplicaState.REPORTED
        ]
    return verdicts


def _comparer(measures: Measures) -> Callable[[Sequence[ReplicaView], int], Agreement | None]:
    def compare(reported: Sequence[ReplicaView], quorum: int) -> Agreement | None:
        agreement = agree_on_digest(reported)
        if agreement is not None:
            return agreement
        candidates = [CandidateOutput(owner_id=r.owner_id, digest=r.digest or b"") for r in reported]
        return decide(candidates, quorum, measures.outputs.__getitem__, measures.specs(*reported))

    return compare


def _record(review: UnitReview, judgement: Judgement, verdicts: Verdicts) -> None:
    number = review.number
    verdicts.replicas += _moves(number, judgement.cancelled, ReplicaState.CANCELLED)
    if judgement.agreement is not None:
        agreement = judgement.agreement
        canonical = agreement.canonical_owner_id
        verdicts.decided.append(DecidedUnit(number, UnitState.VALIDATED.value, canonical, "", is_final=True))
        verdicts.replicas += _moves(number, agreement.valid, ReplicaState.VALID)
        verdicts.replicas += _moves(number, agreement.invalid, ReplicaState.INVALID)
        verdicts.replicas += _moves(number, agreement.inconclusive, ReplicaState.INCONCLUSIVE)
    elif judgement.failure:
        failed = DecidedUnit(number, UnitState.FAILED.value, None, judgement.failure[:300], is_final=False)
        verdicts.decided.append(failed)
        reported = [r.owner_id for r in review.replicas if r.state == ReplicaState.REPORTED]
        verdicts.replicas += _moves(number, reported, ReplicaState.INCONCLUSIVE)
    elif judgement.needed != review.needed:
        verdicts.changed.append(ChangedUnit(number, judgement.needed))


def _moves(number: int, owners: Sequence[int], state: ReplicaState) -> list[tuple[int, int, str, int]]:
    return [(number, owner_id, state.value, 0) for owner_id in owners]


def _judge_late(review: UnitReview, replica: ReplicaView, measures: Measures) -> ReplicaState:
    """Judge an output that came in while the verdict was being written: by the canonical one, and paid alike."""
    canonical = next((r for r in review.replicas if r.owner_id == review.canonical_owner_id), None)
    if canonical is None:
        return ReplicaState.INCONCLUSIVE  # the unit failed or was cancelled: nothing to measure by
    distance = measures.distance(canonical, replica)
    if distance <= MATCH_MAX:
        return ReplicaState.VALID
    return ReplicaState.INVALID if distance >= MISMATCH_MIN else ReplicaState.INCONCLUSIVE
