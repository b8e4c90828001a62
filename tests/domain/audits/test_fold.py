"""Folding a vehicle's commitments: step by step as at once, never past what is open, nothing of a life that ended."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workunits.domain.audits.draws import AuditRules
from workunits.domain.audits.fold import (
    Commit,
    CommitState,
    LevelMark,
    Scope,
    Weighed,
    find_finals,
    fold_commits,
    judge_losses,
)
from workunits.domain.audits.sequence import AuditState
from workunits.domain.replicas import ReplicaRole

RULES = AuditRules()
DAY = 86_400.0


def commit(sequence, *, state=CommitState.VALID, level=2, role=0, model=7, weight=50, at=None, name="x86"):
    return Commit(sequence, level, role, model, name, weight, DAY * sequence if at is None else at, state)


@st.composite
def histories(draw):
    count = draw(st.integers(0, 14))
    times = sorted(draw(st.lists(st.floats(0, 200 * DAY), min_size=count, max_size=count)))
    return [
        commit(
            sequence,
            state=draw(st.sampled_from([CommitState.VALID] * 4 + [CommitState.ENDED, CommitState.OPEN])),
            level=draw(st.integers(1, 3)),
            role=draw(st.integers(0, 2)),
            model=draw(st.integers(1, 2)),
            weight=draw(st.integers(1, 1000)),
            at=at,
            name=draw(st.sampled_from(["x86", "arm"])),
        )
        for sequence, at in enumerate(times, start=1)
    ]


@given(histories(), st.integers(0, 6), st.lists(st.integers(0, 14), max_size=4))
def test_folding_in_steps_gives_what_folding_at_once_gives(commits, began, cuts):
    at_once = fold_commits(commits, {}, folded=0, began=began, rules=RULES)
    weights: dict[Scope, Weighed] = {}
    upto = 0
    ended: list[int] = []
    for start, end in pairwise(sorted({0, *cuts, len(commits)})):
        if upto != start:
            break  # something open was met
        step = fold_commits(commits[start:end], weights, folded=upto, began=began, rules=RULES)
        weights |= step.weights
        upto, ended = step.upto, ended + step.ended
    assert (upto, ended) == (at_once.upto, at_once.ended)
    assert weights == at_once.weights


@given(histories(), st.integers(0, 6))
def test_nothing_open_and_nothing_of_an_ended_life_is_counted(commits, began):
    folded = fold_commits(commits, {}, folded=0, began=began, rules=RULES)
    is_open = [c.sequence for c in commits if c.state == CommitState.OPEN]
    assert folded.upto == (min(is_open) - 1 if is_open else len(commits))
    counted = [
        c
        for c in commits
        if began < c.sequence <= folded.upto and c.state == CommitState.VALID and c.role != ReplicaRole.AUDIT
    ]
    for level in (1, 2, 3):
        most = sum(c.weight for c in counted if c.level == level)
        weight = folded.weights.get(Scope(level), Weighed(0.0, 0.0, 0.0)).weight
        assert 0 <= weight <= most
        assert (weight > 0) <= (most > 0)


@given(histories())
def test_results_of_one_moment_weigh_their_sum_in_each_scope(commits):
    now = [c._replace(committed_at=0.0) for c in commits]
    folded = fold_commits(now, {}, folded=0, began=0, rules=RULES)
    believed = [
        c for c in now if c.sequence <= folded.upto and c.state == CommitState.VALID and c.role != ReplicaRole.AUDIT
    ]
    for scope, weighed in folded.weights.items():
        assert weighed.weight == sum(
            c.weight
            for c in believed
            if c.level == scope.level
            and scope.comparison_class in ("", c.comparison_class)
            and scope.model_id in (0, c.model_id)
        )


def test_weight_halves_in_ninety_days_and_is_nothing_after_thirty_idle_ones():
    steps = [commit(n, at=n * 15 * DAY, weight=100) for n in range(1, 8)]
    folded = fold_commits(steps, {}, folded=0, began=0, rules=RULES)
    assert folded.weights[Scope(2)].weight == pytest.approx(sum(100 * 0.5 ** (n / 6) for n in range(7)))
    late = fold_commits([commit(8, at=135 * DAY, weight=1)], folded.weights, folded=7, began=0, rules=RULES)
    assert late.weights[Scope(2)] == Weighed(1.0, 135 * DAY, 135 * DAY)


def test_a_vehicle_qualifies_once_it_is_believed_for_what_an_anchor_would_have_to_check():
    folded = fold_commits([commit(n, at=0.0) for n in range(1, 6)], {}, folded=0, began=0, rules=RULES)
    assert folded.qualified == {2: (100, 150, 3)}


def test_results_are_final_up_to_the_last_audit_that_passed_before_anything_open():
    marks = [LevelMark(2, 3, AuditState.PASSED), LevelMark(2, 6, AuditState.PASSED), LevelMark(1, 8, AuditState.PASSED)]
    assert find_finals(marks, {1, 2, 3}, resets=[], folded=9) == {1: 8, 2: 6}
    assert find_finals(marks, {1, 2}, resets=[], folded=5) == {2: 3}
    # An open audit of any level may end the life in which all of them lie.
    assert find_finals([*marks, LevelMark(3, 4, AuditState.OPEN)], {1, 2}, resets=[], folded=9) == {2: 3}


def test_several_failures_of_one_life_end_it_once_and_take_back_from_the_first_on():
    marks = [LevelMark(2, 2, AuditState.PASSED), LevelMark(1, 4, AuditState.PASSED), LevelMark(2, 6, AuditState.PASSED)]
    losses = judge_losses([(7, 71), (5, 51)], marks, {2: 2}, resets=[], committed=9)
    assert losses.ends_life
    assert [(each.audit_id, each.level, *each.span) for each in losses.taken] == [
        (51, 1, 4, 9), (51, 2, 2, 9), (51, 3, 0, 9), (71, 1, 4, 9), (71, 2, 6, 9), (71, 3, 0, 9),
    ]  # fmt: skip


def test_a_failure_of_a_life_that_has_ended_takes_back_nothing_of_the_next():
    losses = judge_losses([(3, 31)], [], {}, resets=[5], committed=9)
    assert not losses.ends_life
    assert {(each.span.after, each.span.upto) for each in losses.taken} == {(0, 5)}


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 12), st.sampled_from(list(AuditState))), max_size=10),
    st.lists(st.integers(1, 12), min_size=1, max_size=3, unique=True),
    st.lists(st.integers(1, 11), max_size=2, unique=True),
)
def test_what_is_final_is_never_taken_back(raw, failed, resets):
    marks = [LevelMark(*each) for each in raw]
    ends = sorted(resets)
    finals = find_finals(marks, {1, 2, 3}, resets=ends, folded=12)
    losses = judge_losses([(sequence, sequence) for sequence in failed], marks, finals, resets=ends, committed=12)
    for each in losses.taken:
        assert each.span.after >= finals.get(each.level, 0)
        assert each.span.upto in (*ends, 12)


def test_a_result_counts_once_for_its_level_whatever_class_its_car_states():
    for name in ("x86", ""):
        folded = fold_commits([commit(1, name=name)], {}, folded=0, began=0, rules=RULES)
        assert folded.weights[Scope(2)].weight == 50
