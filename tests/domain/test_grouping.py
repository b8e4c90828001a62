"""The quorum over distances: one largest clique, its medoid, and nobody favoured by arriving first."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from workunits.domain.comparison import OutputSpec
from workunits.domain.grouping import CandidateOutput, Verdict, decide, group_outputs, place
from workunits.domain.quorum import Agreement
from workunits.domain.states import ReplicaState

SPECS = (OutputSpec(name="y", dtype="F64", shape=(), comparator="dense", tolerance=1e-3),)


def on_a_line(positions: Sequence[float]):
    return lambda i, j: abs(positions[i] - positions[j])


def group(positions: Sequence[float], quorum: int, sizes: Sequence[int] | None = None) -> Verdict:
    return group_outputs(sizes or [1] * len(positions), on_a_line(positions), quorum)


def document(value: float) -> bytes:
    return bytes(safetensors.numpy.save({"y": np.array([value])}))


def judge(values: dict[int, float], quorum: int, order: Sequence[int] | None = None) -> Agreement | None:
    documents = {owner: document(value) for owner, value in values.items()}
    outputs = [CandidateOutput(owner, hashlib.sha256(documents[owner]).digest()) for owner in order or sorted(values)]
    return decide(outputs, quorum, documents.__getitem__, SPECS)


def test_two_that_agree_are_a_quorum_of_two():
    assert group([0, 1], 2) == Verdict(canonical=0, valid=(0, 1))


def test_two_that_differ_are_undecided():
    verdict = group([0, 1.5], 2)
    assert (verdict, verdict.decided) == (Verdict(), False)


def test_agreement_is_not_chained():
    # The neighbours agree, the ends do not: two pairs are equally large.
    assert not group([0, 1, 2], 2).decided


def test_a_third_output_settles_what_two_could_not():
    assert group([0, 9, 0.5], 2) == Verdict(canonical=0, valid=(0, 2), invalid=(1,))


def test_the_canonical_output_is_the_medoid():
    assert group([0.9, 0.5, 0], 3).canonical == 1


def test_one_in_between_is_inconclusive_and_one_far_off_is_invalid():
    assert group([0, 0.5, 3, 4.1], 2) == Verdict(canonical=0, valid=(0, 1), invalid=(3,), inconclusive=(2,))


def test_two_equal_camps_are_undecided():
    assert not group([0, 0, 9, 9], 2).decided


def test_the_largest_group_may_still_be_smaller_than_the_quorum():
    assert not group([0, 0.5, 9], 3).decided


def test_equal_outputs_count_as_many():
    assert group([0, 9], 2, sizes=[2, 1]) == Verdict(canonical=0, valid=(0,), invalid=(1,))
    assert not group([0, 9], 2, sizes=[2, 2]).decided


def test_one_output_is_a_quorum_of_one():
    assert group([0], 1) == Verdict(canonical=0, valid=(0,))


def test_an_output_outside_the_clique_that_agrees_with_the_canonical_one_is_valid():
    # 1.2 is too far from 0 for the clique of the first five, but near the canonical 0.45.
    assert group([0, 0.5, 0.6, 0.15, 0.45, 1.2], 3) == Verdict(canonical=4, valid=(0, 1, 2, 3, 4, 5))


def test_more_than_seven_different_outputs_are_refused():
    with pytest.raises(ValueError, match="8 different outputs"):
        group(range(8), 2)


def test_each_pair_is_measured_once():
    asked = []

    def distance(i: int, j: int) -> float:
        asked.append((i, j))
        return 9.0

    group_outputs([1, 1, 1], distance, 2)
    assert asked == [(0, 1), (0, 2), (1, 2)]


def test_equal_digests_are_decided_without_loading_anything():
    outputs = [CandidateOutput(owner, b"same") for owner in (9, 4)]

    def load(owner: int) -> bytes:
        raise AssertionError(owner)

    assert decide(outputs, 2, load, SPECS) == Agreement(canonical_owner_id=4, valid=(4, 9))


def test_outputs_within_the_tolerance_agree_and_the_cheat_is_invalid():
    assert judge({1: 1.0, 2: 1.0001, 3: 2.0}, 2) == Agreement(canonical_owner_id=1, valid=(1, 2), invalid=(3,))


def test_a_doubtful_output_is_inconclusive():
    agreement = judge({1: 1.0, 2: 1.0, 3: 1.002}, 2)
    assert agreement == Agreement(canonical_owner_id=1, valid=(1, 2), inconclusive=(3,))


def test_each_different_output_is_loaded_once():
    documents = {owner: document(value) for owner, value in {1: 1.0, 2: 1.0, 3: 2.0, 4: 3.0}.items()}
    loaded = []

    def load(owner: int) -> bytes:
        loaded.append(owner)
        return documents[owner]

    decide([CandidateOutput(owner, hashlib.sha256(documents[owner]).digest()) for owner in documents], 2, load, SPECS)
    assert sorted(loaded) == [1, 3, 4]


@given(
    values=st.dictionaries(
        st.integers(1, 1000),
        st.sampled_from([1.0, 1.0, 1.0005, 1.0009, 1.0015, 1.003, 1.01, float("nan")]),
        min_size=1,
        max_size=7,
    ),
    quorum=st.integers(1, 5),
    data=st.data(),
)
def test_the_verdict_does_not_depend_on_the_order_of_arrival(values, quorum, data):
    order = data.draw(st.permutations(sorted(values)))
    agreement = judge(values, quorum, order)
    assert agreement == judge(values, quorum)
    if agreement is not None:
        assert agreement.canonical_owner_id in agreement.valid
        assert len(agreement.valid) >= quorum
        placed = [*agreement.valid, *agreement.invalid, *agreement.inconclusive]
        assert sorted(placed) == sorted(values)


@given(
    positions=st.lists(st.integers(0, 40).map(lambda step: step / 10), min_size=1, max_size=7),
    quorum=st.integers(1, 5),
    data=st.data(),
)
def test_a_decision_is_the_only_largest_clique_whatever_the_order(positions, quorum, data):
    verdict = group(positions, quorum)
    order = data.draw(st.permutations(range(len(positions))))
    permuted = group([positions[i] for i in order], quorum)
    assert permuted.decided == verdict.decided
    if verdict.decided:
        # On a tie another medoid may be named (owner ids break ties one level up); both sit in the same clique.
        assert verdict.canonical is not None
        assert permuted.canonical is not None
        assert abs(positions[verdict.canonical] - positions[order[permuted.canonical]]) <= 1


@given(data=st.data(), count=st.integers(1, 7), quorum=st.integers(1, 5))
def test_any_distances_give_the_medoid_of_the_one_largest_clique_whatever_the_order(data, count, quorum):
    """Distances need obey no geometry: two comparators, or two rows, may disagree about who is near whom."""
    pairs = list(combinations(range(count), 2))
    # All different, so that there is only one medoid.
    drawn = data.draw(st.lists(st.integers(0, 500), min_size=len(pairs), max_size=len(pairs), unique=True))
    far = {pair: step / 100 for pair, step in zip(pairs, drawn, strict=True)}
    order = data.draw(st.permutations(range(count)))

    def distance(i: int, j: int) -> float:
        return 0.0 if i == j else far[min(i, j), max(i, j)]

    verdict = group_outputs([1] * count, distance, quorum)
    permuted = group_outputs([1] * count, lambda i, j: distance(order[i], order[j]), quorum)
    cliques = [
        set(group)
        for size in range(1, count + 1)
        for group in combinations(range(count), size)
        if all(far[pair] <= 1 for pair in combinations(group, 2))
    ]
    largest = [clique for clique in cliques if len(clique) == max(map(len, cliques))]
    assert verdict.decided == permuted.decided == (len(largest) == 1 and len(largest[0]) >= quorum)
    if not verdict.decided:
        return
    sums = {i: sum(distance(i, j) for j in largest[0]) for i in largest[0]}
    assert verdict.canonical is not None
    assert permuted.canonical is not None
    assert sums[verdict.canonical] == pytest.approx(min(sums.values()))
    assert sums[order[permuted.canonical]] == pytest.approx(min(sums.values()))
    assert largest[0] <= set(verdict.valid)
    placed = [*verdict.valid, *verdict.invalid, *verdict.inconclusive]
    assert sorted(placed) == list(range(count))
    for index in range(count):
        away = distance(verdict.canonical, index)
        expected = verdict.valid if away <= 1 else verdict.invalid if away >= 4 else verdict.inconclusive
        assert index in expected


@pytest.mark.parametrize(
    ("value", "state"),
    [(1.0005, ReplicaState.VALID), (1.002, ReplicaState.INCONCLUSIVE), (1.1, ReplicaState.INVALID)],
)
def test_a_late_output_is_placed_by_the_canonical_one(value, state):
    assert place(document(1.0), document(value), SPECS) is state
