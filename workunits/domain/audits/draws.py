"""With which probability a result is audited, given what its vehicle has been believed so far.

All weights are microcredits: the reward of a unit, which follows from counted FLOPs. The rule is the one whose bound
`levels` states: p = min(1, c w / ((1 - δ) N)), with N the accepted weight and δ the chance that an auditor is a friend.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from workunits.domain.audits.levels import AUDIT_FACTOR, VerificationLevel

DAY_SECONDS: Final = 86_400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditRules:
    """The numbers of the rule that do not depend on the level.

    Attributes:
        friend_share: δ, the chance that the vehicle which audits belongs to whom it audits.
        floor: the least probability, however much a vehicle has been believed.
        model_factor: c_m, for the weight of one model in one comparison class: it finds faults, not lies.
        half_life_seconds: accepted weight loses half of its worth in this time.
        idle_seconds: after so long without a commitment a vehicle starts again at nothing.
    """

    friend_share: float = 0.05
    floor: float = 0.01
    model_factor: float = 10.0
    half_life_seconds: float = 90 * DAY_SECONDS
    idle_seconds: float = 30 * DAY_SECONDS


@dataclass(frozen=True, kw_only=True, slots=True)
class TrustWeights:
    """What a vehicle has been believed in its present life, decayed to now, at one level.

    Attributes:
        level: over all models and comparison classes.
        comparison_class: in its present comparison class, over all models. Another runtime starts at nothing.
        model: for one model in that class.
    """

    level: float = 0.0
    comparison_class: float = 0.0
    model: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawRule:
    """How the results of one report are drawn; SQL does the same with the weight of each unit.

    Attributes:
        rate: probability for each microcredit of weight; infinity while nothing is accepted.
        floor: the least probability.
        young_above: results of more weight than this are run again by an anchor: a car might be a friend's.
    """

    rate: float
    floor: float
    young_above: float


def make_draw_rule(level: VerificationLevel, weights: TrustWeights, rules: AuditRules, *, is_watched: bool) -> DrawRule:
    """Return the rule for a report that begins with these weights. A watched vehicle is always audited."""
    factor = AUDIT_FACTOR[level]
    if is_watched:
        return DrawRule(rate=math.inf, floor=1.0, young_above=_young_above(factor, weights, rules))
    rate = max(_over(factor / (1.0 - rules.friend_share), weights.level), _over(rules.model_factor, weights.model))
    return DrawRule(rate=rate, floor=rules.floor, young_above=_young_above(factor, weights, rules))


def audit_probability(rule: DrawRule, weight: float) -> float:
    """Return the probability that a result of this weight is audited."""
    return min(1.0, max(rule.floor, rule.rate * weight))


def is_young(rule: DrawRule, weight: float) -> bool:
    """Return whether the bound needs an anchor for this weight: N < c δ w / (1 - δ)."""
    return weight > rule.young_above


def qualifying_weight(level: VerificationLevel, weight: float, rules: AuditRules) -> float:
    """Return the accepted weight from which on results of `weight` need no anchor: c δ w / (1 - δ)."""
    return AUDIT_FACTOR[level] * rules.friend_share * weight / (1.0 - rules.friend_share)


def decay(weight: float, elapsed_seconds: float, *, idle_seconds: float, rules: AuditRules) -> float:
    """Return what an accepted weight is worth after a time; nothing once the vehicle has been idle for too long."""
    if idle_seconds >= rules.idle_seconds:
        return 0.0
    return weight * math.exp2(-max(0.0, elapsed_seconds) / rules.half_life_seconds)


def _young_above(factor: float, weights: TrustWeights, rules: AuditRules) -> float:
    believed = min(weights.level, weights.comparison_class)
    return _over(believed * (1.0 - rules.friend_share), factor * rules.friend_share)


def _over(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator > 0 else math.inf
