"""The digest ladder of an audit, and the outcome of a dispute: what is compared, how far one has to go, who is right.

An auditor sends a salted digest and a sketch, like everybody. L0: the salted digest of the canonical bytes, which we
compute, is the auditor's. L1: the sketch is close to the canonical output. L2: the tensors themselves, asked for only
where both leave a doubt. Salts differ from replica to replica, so that nobody passes by repeating what another sent.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from workunits.domain.audits.sequence import AuditState
from workunits.domain.comparison import MATCH_MAX, MISMATCH_MIN, OutputSpec, measure_distance
from workunits.domain.tokens import salted_digest

# (canonical bytes, sketch, outputs, salt) -> whether it agrees, and the estimated distance in tolerances.
SketchJudge = Callable[[bytes, bytes, Sequence[OutputSpec], bytes], tuple[bool, float]]


class Stage(StrEnum):
    """What an outcome rests on."""

    DIGEST = "digest"
    SKETCH = "sketch"
    TENSORS = "tensors"
    ANCHOR = "anchor"


class Step(StrEnum):
    """Where the ladder ends for now."""

    AGREES = "agrees"
    ASKS_BYTES = "asks_bytes"  # digest and sketch leave a doubt, and the bytes are not here
    DIFFERS = "differs"  # by more than the tolerance: an anchor has to say who is right


class Finding(NamedTuple):
    """How an output compares with the one it is measured by. `distance`: in tolerances; None where none was taken."""

    step: Step
    stage: Stage
    distance: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """What a replica has sent: always its salted digest, a sketch where the output is large, the bytes if asked for."""

    commitment: bytes
    salt: bytes
    sketch: bytes | None = None
    output: bytes | None = None


def judge_audit(
    canonical: bytes, evidence: Evidence, specs: Sequence[OutputSpec], judge_sketch: SketchJudge
) -> Finding:
    """Return how far the ladder has to go, and what it says there."""
    if hmac.compare_digest(salted_digest(evidence.salt, canonical), evidence.commitment):
        return Finding(Step.AGREES, Stage.DIGEST, 0.0)
    if evidence.output is not None:
        distance = measure_distance(canonical, evidence.output, specs)
        return Finding(Step.AGREES if distance <= MATCH_MAX else Step.DIFFERS, Stage.TENSORS, distance)
    if evidence.sketch is None:
        return Finding(Step.ASKS_BYTES, Stage.DIGEST, None)
    agrees, estimate = judge_sketch(canonical, evidence.sketch, specs, evidence.salt)
    return Finding(Step.AGREES if agrees else Step.ASKS_BYTES, Stage.SKETCH, estimate)


def judge_by_anchor(distance: float) -> AuditState:
    """Return what an anchor's output says of another at `distance` tolerances from it."""
    if distance <= MATCH_MAX:
        return AuditState.PASSED
    return AuditState.FAILED if distance >= MISMATCH_MIN else AuditState.INCONCLUSIVE


@dataclass(frozen=True, kw_only=True, slots=True)
class DisputeOutcome:
    """What became of the two sides: passed, failed or inconclusive each.

    `is_common`: both lost and agree with each other. They are wrong all the same, but their runtime may be at fault.
    """

    primary: AuditState
    auditor: AuditState
    is_common: bool = False


def settle_dispute(primary_distance: float, auditor_distance: float, pair_distance: float) -> DisputeOutcome:
    """Return who was right, given the distances of both sides from the anchor's output and from each other."""
    primary, auditor = judge_by_anchor(primary_distance), judge_by_anchor(auditor_distance)
    both_lost = primary == AuditState.FAILED and auditor == AuditState.FAILED
    return DisputeOutcome(primary=primary, auditor=auditor, is_common=both_lost and pair_distance <= MATCH_MAX)
