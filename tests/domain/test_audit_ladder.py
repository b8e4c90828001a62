"""The digest ladder: how far a comparison goes, and what an anchor's output says of both sides of a dispute."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from workunits.domain.audits.ladder import (
    DisputeOutcome,
    Evidence,
    Finding,
    Stage,
    Step,
    judge_audit,
    judge_by_anchor,
    settle_dispute,
)
from workunits.domain.audits.sequence import AuditState
from workunits.domain.comparison import OutputSpec
from workunits.domain.tokens import salted_digest

SPECS = (OutputSpec(name="y", dtype="F32", shape=(4,), comparator="dense", tolerance=1e-4),)
SALT, OTHER_SALT = b"s" * 16, b"t" * 16
SKETCH = b"k" * 256


def document(scale: float = 1.0) -> bytes:
    return save({"y": (np.arange(1, 9, dtype=np.float64).reshape(2, 4) * scale).astype(np.float32)})


CANONICAL = document()


def never(*_: object) -> tuple[bool, float]:
    raise AssertionError("the sketch was looked at")


def estimate(distance: float, *, most: float = 1.5):
    return lambda *_: (distance <= most, distance)


def test_the_salted_digest_of_the_result_is_enough():
    evidence = Evidence(commitment=salted_digest(SALT, CANONICAL), salt=SALT, sketch=SKETCH)
    assert judge_audit(CANONICAL, evidence, SPECS, never) == Finding(Step.AGREES, Stage.DIGEST, 0.0)


@pytest.mark.parametrize(
    "stolen", [salted_digest(OTHER_SALT, CANONICAL), hashlib.sha256(CANONICAL).digest(), b"", b"\0" * 32]
)
def test_a_digest_with_another_salt_or_with_none_is_no_proof_of_work(stolen):
    evidence = Evidence(commitment=stolen, salt=SALT)
    assert judge_audit(CANONICAL, evidence, SPECS, never) == Finding(Step.ASKS_BYTES, Stage.DIGEST, None)


def test_a_close_sketch_agrees_and_a_distant_one_asks_for_the_bytes():
    evidence = Evidence(commitment=b"x" * 32, salt=SALT, sketch=SKETCH)
    assert judge_audit(CANONICAL, evidence, SPECS, estimate(0.7)) == Finding(Step.AGREES, Stage.SKETCH, 0.7)
    assert judge_audit(CANONICAL, evidence, SPECS, estimate(9.0)) == Finding(Step.ASKS_BYTES, Stage.SKETCH, 9.0)
    assert judge_audit(CANONICAL, evidence, SPECS, estimate(math.inf)) == Finding(
        Step.ASKS_BYTES, Stage.SKETCH, math.inf
    )


def test_the_sketch_is_judged_with_the_replicas_own_salt():
    seen = []

    def judge(*arguments: object) -> tuple[bool, float]:
        seen.append(arguments)
        return True, 0.1

    judge_audit(CANONICAL, Evidence(commitment=b"x" * 32, salt=SALT, sketch=SKETCH), SPECS, judge)
    assert seen == [(CANONICAL, SKETCH, SPECS, SALT)]


@pytest.mark.parametrize(("scale", "step"), [(1 + 5e-5, Step.AGREES), (1 + 2.5e-4, Step.DIFFERS), (2.0, Step.DIFFERS)])
def test_bytes_decide_where_they_are_here_and_the_sketch_is_not_asked(scale, step):
    evidence = Evidence(commitment=b"x" * 32, salt=SALT, sketch=SKETCH, output=document(scale))
    finding = judge_audit(CANONICAL, evidence, SPECS, never)
    assert (finding.step, finding.stage) == (step, Stage.TENSORS)
    assert finding.distance is not None
    assert (finding.distance <= 1) is (step == Step.AGREES)


PASSED, FAILED, INCONCLUSIVE = AuditState.PASSED, AuditState.FAILED, AuditState.INCONCLUSIVE


@pytest.mark.parametrize(
    ("distance", "state"),
    [(0.0, PASSED), (1.0, PASSED), (1.001, INCONCLUSIVE), (3.999, INCONCLUSIVE), (4.0, FAILED), (math.inf, FAILED)],
)
def test_an_anchor_passes_up_to_one_tolerance_and_fails_from_four(distance, state):
    assert judge_by_anchor(distance) == state


@given(
    primary=st.floats(0, 100, allow_nan=False),
    auditor=st.floats(0, 100, allow_nan=False),
    pair=st.floats(0, 100, allow_nan=False),
)
def test_each_side_is_judged_by_the_anchor_alone_whatever_the_two_agree_on(primary, auditor, pair):
    outcome = settle_dispute(primary, auditor, pair)
    assert outcome.primary == judge_by_anchor(primary)
    assert outcome.auditor == judge_by_anchor(auditor)
    assert settle_dispute(auditor, primary, pair) == DisputeOutcome(
        primary=outcome.auditor, auditor=outcome.primary, is_common=outcome.is_common
    )
    assert outcome.is_common == (primary >= 4 and auditor >= 4 and pair <= 1)
