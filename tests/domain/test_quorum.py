"""The rule of validation: what becomes of a unit, whatever the order in which its replicas are listed."""

from __future__ import annotations

from hypothesis import given, strategies

from workunits.domain.quorum import Agreement, Judgement, ReplicaView, RetryLimits, agree_on_digest, judge_unit

LIMITS = RetryLimits(errors_max=3, expiries_max=4, outputs_max=5)
STATES = ["LEASED", "COMMITTED", "REPORTED", "RETURNED", "ERRORED", "EXPIRED"]


def by_digest(reported, _quorum):
    return agree_on_digest(reported)


def judge(replicas, quorum=2, compare=by_digest):
    return judge_unit(replicas, quorum=quorum, limits=LIMITS, compare=compare)


def reported(owner, digest=b"a"):
    return ReplicaView(owner, "REPORTED", digest=digest)


def test_a_unit_without_replicas_needs_its_quorum():
    assert judge([]) == Judgement(needed=2)


def test_live_replicas_and_reports_count_towards_the_quorum():
    assert judge([ReplicaView(1, "LEASED")]).needed == 1
    assert judge([ReplicaView(1, "LEASED"), reported(2)]).needed == 0
    assert judge([ReplicaView(1, "COMMITTED"), ReplicaView(2, "LEASED")]).needed == 0


def test_hand_backs_errors_and_expiries_are_replaced():
    assert judge([ReplicaView(1, "RETURNED"), ReplicaView(2, "ERRORED"), ReplicaView(3, "EXPIRED")]).needed == 2


def test_equal_outputs_agree_and_the_lowest_owner_is_canonical():
    judgement = judge([reported(9), reported(4), ReplicaView(7, "LEASED")])
    assert judgement.agreement == Agreement(canonical_owner_id=4, valid=(4, 9))
    assert judgement.cancelled == (7,)


def test_different_outputs_ask_for_one_more_at_a_time():
    assert judge([reported(1), reported(2, b"b")]).needed == 1
    assert judge([reported(1), reported(2, b"b"), ReplicaView(3, "LEASED")]).needed == 0
    assert judge([reported(1), reported(2, b"b"), reported(3, b"c")]).needed == 1


def test_each_named_maximum_fails_the_unit_with_a_reason():
    errors = [ReplicaView(n, "ERRORED", reason="run_failed") for n in range(3)]
    assert judge(errors).failure == "3 vehicles could not run it: run_failed (3)"
    assert judge([ReplicaView(1, "EXPIRED", attempt=3), ReplicaView(2, "EXPIRED")]).failure == (
        "4 leases expired without a result"
    )
    assert judge([reported(n, bytes([n])) for n in range(5)]).failure == "no 2 of 5 outputs agree"


def test_agreement_comes_before_failure():
    replicas = [*[ReplicaView(n, "ERRORED") for n in range(3)], reported(7), reported(8)]
    assert judge(replicas).agreement is not None


def test_comparison_is_asked_only_when_a_quorum_is_here():
    def never(reported, quorum):
        raise AssertionError("asked too early")

    assert judge([reported(1)], quorum=2, compare=never).needed == 1


@given(
    strategies.lists(
        strategies.builds(
            lambda owner, state, digest: ReplicaView(owner, state, digest=digest if state == "REPORTED" else None),
            strategies.integers(1, 50),
            strategies.sampled_from(STATES),
            strategies.sampled_from([b"a", b"b"]),
        ),
        max_size=7,
        unique_by=lambda replica: replica.owner_id,
    ),
    strategies.integers(1, 5),
    strategies.randoms(use_true_random=False),
)
def test_the_verdict_ignores_order(replicas, quorum, random):
    shuffled = list(replicas)
    random.shuffle(shuffled)
    assert judge(replicas, quorum) == judge(shuffled, quorum)
