"""The draw: what the probability does with weight and trust, and that it is never below what the proof asks for."""

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workunits.domain.audits.draws import (
    AuditRules,
    TrustWeights,
    audit_probability,
    decay,
    earns_trust,
    factor_without_anchors,
    is_young,
    make_draw_rule,
    make_rule_of_factor,
    qualifying_weight,
)
from workunits.domain.audits.levels import AUDIT_FACTOR, VerificationLevel, expected_wrong_share, is_audited
from workunits.domain.replicas import ReplicaRole

STANDARD = VerificationLevel.STANDARD
RULES = AuditRules()
# Microcredits: from a row that costs nothing to years of work.
believed = st.one_of(st.just(0.0), st.floats(1.0, 1e15))
weight = st.integers(1, 10**12)
level = st.sampled_from(list(AUDIT_FACTOR))
rules = st.builds(
    AuditRules,
    friend_share=st.floats(0.0, 0.5),
    floor=st.floats(0.0, 1.0),
    probation=st.floats(1.0, 100.0),
    model_factor=st.floats(1.0, 500.0),
)


def trust(total: float, *, model: float | None = None, comparison_class: float | None = None) -> TrustWeights:
    return TrustWeights(
        level=total,
        comparison_class=total if comparison_class is None else comparison_class,
        model=total if model is None else model,
    )


def probability(level, weights, weight, rules=RULES, *, is_watched=False) -> float:
    return audit_probability(make_draw_rule(level, weights, rules, is_watched=is_watched), weight)


@given(level, believed, believed, weight, rules, st.booleans())
def test_a_probability_lies_between_the_floor_and_one(level, total, model, weight, rules, is_watched):
    drawn = probability(level, trust(total, model=model), weight, rules, is_watched=is_watched)
    assert rules.floor <= drawn <= 1.0
    assert not is_watched or drawn == 1.0


@given(level, believed, believed, weight, weight, rules)
def test_more_weight_is_never_audited_less(level, total, model, weight, other, rules):
    light, heavy = sorted((weight, other))
    weights = trust(total, model=model)
    assert probability(level, weights, light, rules) <= probability(level, weights, heavy, rules) + 1e-12


@given(level, believed, believed, believed, believed, weight, rules)
def test_more_trust_is_never_audited_more(level, total, more, model, more_model, weight, rules):
    little = trust(min(total, more), model=min(model, more_model))
    much = trust(max(total, more), model=max(model, more_model))
    assert probability(level, much, weight, rules) <= probability(level, little, weight, rules) + 1e-12


@given(st.floats(5.0, 500.0), believed, believed, weight, rules)
def test_an_honest_auditor_comes_at_least_as_often_as_the_proof_asks(factor, total, model, weight, rules):
    rule = make_rule_of_factor(factor, trust(total, model=model), rules, is_watched=False)
    if is_young(rule, weight):
        return  # an anchor runs it for certain, and no anchor is a friend
    needed = factor * weight / (total + (factor + 1.0) * weight)
    assert (1.0 - rules.friend_share) * audit_probability(rule, weight) >= needed * (1 - 1e-9)


@given(level, st.floats(1e3, 1e15), weight)
def test_an_audit_is_no_likelier_than_the_proof_asks_once_probation_is_over(level, total, weight):
    rules = AuditRules(floor=0.0, model_factor=1.0)
    factor = AUDIT_FACTOR[level]
    if total < min(factor, rules.probation) * weight:
        assert probability(level, trust(total), weight, rules) == 1.0
        return
    needed = min(1.0, factor * weight / (0.95 * (total + (factor + 1.0) * weight)))
    assert probability(level, trust(total, model=math.inf), weight, rules) == pytest.approx(needed)


@given(level, believed, believed, weight)
def test_who_is_young_has_less_than_the_qualifying_weight_at_the_level_or_in_the_class(level, total, in_class, weight):
    rule = make_draw_rule(level, trust(total, comparison_class=in_class), RULES, is_watched=False)
    least = min(total, in_class)
    if not math.isclose(least, qualifying_weight(level, weight, RULES), rel_tol=1e-9):
        assert is_young(rule, weight) == (least < qualifying_weight(level, weight, RULES))


def test_the_probabilities_of_the_levels_are_these():
    for units, expected in {100: 50 / (0.95 * 151), 1_000: 50 / (0.95 * 1_051), 10_000: 0.01}.items():
        assert probability(STANDARD, trust(units), 1) == pytest.approx(expected, rel=1e-9)
    assert probability(STANDARD, trust(29.9), 1) == 1.0
    assert probability(VerificationLevel.ECONOMY, trust(1_000), 1) == pytest.approx(10 / (0.95 * 1_011), rel=1e-9)
    assert probability(VerificationLevel.STRICT, trust(1_000), 1) == pytest.approx(500 / (0.95 * 1_501), rel=1e-9)


def test_a_model_that_is_new_to_a_trusted_vehicle_is_audited_for_its_own_sake():
    assert probability(STANDARD, trust(10_000, model=0), 1) == 1.0
    assert probability(STANDARD, trust(10_000, model=90), 1) == pytest.approx(1 / (9 + 0.969), rel=1e-9)


def test_a_vehicle_in_a_new_comparison_class_is_young_whatever_it_was_believed_before():
    rule = make_draw_rule(STANDARD, trust(10_000, comparison_class=0, model=0), RULES, is_watched=False)
    assert is_young(rule, 1)


def test_where_no_auditor_can_be_a_friend_nobody_is_young():
    rules = AuditRules(friend_share=0.0)
    assert not is_young(make_draw_rule(STANDARD, trust(0), rules, is_watched=False), 10**12)


@given(believed, st.floats(0, 1e9), st.floats(0, 1e9))
def test_trust_only_ever_decays(total, elapsed, idle):
    assert 0.0 <= decay(total, elapsed, idle_seconds=idle, rules=RULES) <= total


def test_trust_halves_in_ninety_days_and_ends_after_thirty_idle_ones():
    days = timedelta(days=1).total_seconds()
    assert decay(800, 90 * days, idle_seconds=0, rules=RULES) == 400
    assert decay(800, 29 * days, idle_seconds=29 * days, rules=RULES) == pytest.approx(800 * 2 ** (-29 / 90))
    assert decay(800, 30 * days, idle_seconds=30 * days, rules=RULES) == 0
    assert decay(800, -5.0, idle_seconds=0, rules=RULES) == 800


def test_results_and_known_answers_earn_trust_and_audits_do_not():
    assert [role.name for role in ReplicaRole if earns_trust(role)] == ["PRIMARY", "KNOWN"]


def test_without_anchors_no_level_promises_more_than_a_friend_leaves():
    assert factor_without_anchors(VerificationLevel.ECONOMY, RULES) == 10.0
    assert factor_without_anchors(STANDARD, RULES) == pytest.approx(19.0)
    assert factor_without_anchors(VerificationLevel.STRICT, RULES) == pytest.approx(19.0)
    assert factor_without_anchors(STANDARD, AuditRules(friend_share=0.0)) == 50.0


def test_a_level_promises_the_assumed_share_over_its_factor():
    assert expected_wrong_share(STANDARD, 0.05) == pytest.approx(0.001)
    assert expected_wrong_share(VerificationLevel.CRITICAL, 0.05) == 0.0
    assert [each.value for each in VerificationLevel if is_audited(each)] == ["economy", "standard", "strict"]
