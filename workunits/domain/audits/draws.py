"""With which probability a result is audited, given what its vehicle has been believed so far.

All weights are microcredits: the reward of a unit, which follows from counted FLOPs. A result of weight w is audited
with the probability

    p = min(1, c w / ((1 - δ) (N + (c + 1) w)))

where c is the level's factor, N the weight of the vehicle's results and known answers that was accepted in its present
life, and δ the chance that an auditor is a friend. It is the least probability for which the proof of the bound holds
(docs/explanation/how-results-are-trusted.md); any smaller N, and any larger p, keeps the bound. So a life begins with a
probation in which everything is audited: machines with a fault rarely get beyond it, and it costs next to nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from workunits.domain.audits.levels import AUDIT_FACTOR, VerificationLevel
from workunits.domain.replicas import ReplicaRole

DAY_SECONDS: Final = 86_400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditRules:
    """The numbers of the rule that do not depend on the level.

    Attributes:
        friend_share: δ, the chance that the vehicle which audits belongs to whom it audits.
        floor: the least probability, however much a vehicle has been believed.
        probation: until a vehicle is believed for so many results like the one at hand, it is audited for certain; at a
            level with a smaller factor, for as many as that factor.
        model_factor: c_m, for the weight of one model in one comparison class: it finds faults, not lies.
        half_life_seconds: accepted weight loses half of its worth in this time.
        idle_seconds: after so long without a commitment a vehicle starts again at nothing.
    """

    friend_share: float = 0.05
    floor: float = 0.01
    probation: float = 30.0
    model_factor: float = 10.0
    half_life_seconds: float = 90 * DAY_SECONDS
    idle_seconds: float = 30 * DAY_SECONDS


@dataclass(frozen=True, kw_only=True, slots=True)
class TrustWeights:
    """What a vehicle has been believed in its present life, decayed to now, at one level (`earns_trust`).

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

    A result of weight w is audited for certain if w > certain_above, else with probability
    w / (reserve + own_factor w), and never less than `floor`.

    Attributes:
        reserve: (1 - δ) N / c, the wrong weight that the bound has left for it; zero where nothing is accepted.
        own_factor: (1 - δ) (c + 1) / c, near 1: what the result itself adds to the reserve that it is measured by.
        floor: the least probability.
        certain_above: results of more weight than this are audited for certain: the vehicle's probation.
        young_above: results of more weight than this are run again by an anchor: a car might be a friend's.
    """

    reserve: float
    own_factor: float
    floor: float
    certain_above: float
    young_above: float


def make_draw_rule(level: VerificationLevel, weights: TrustWeights, rules: AuditRules, *, is_watched: bool) -> DrawRule:
    """Return the rule for a report that begins with these weights. A watched vehicle is always audited."""
    return make_rule_of_factor(AUDIT_FACTOR[level], weights, rules, is_watched=is_watched)


def make_rule_of_factor(factor: float, weights: TrustWeights, rules: AuditRules, *, is_watched: bool) -> DrawRule:
    """Return the rule of a level with this c."""
    honest_share = 1.0 - rules.friend_share
    believed = min(weights.level, weights.comparison_class)
    # The counter of one model finds faults. Its auditors need no allowance for friends: nobody's fault has any.
    reserves = (honest_share * weights.level / factor, weights.model / rules.model_factor)
    own_factors = (honest_share * (factor + 1.0) / factor, (rules.model_factor + 1.0) / rules.model_factor)
    return DrawRule(
        reserve=0.0 if is_watched else min(reserves),
        own_factor=min(own_factors),
        floor=1.0 if is_watched else rules.floor,
        certain_above=weights.level / min(factor, rules.probation),
        young_above=believed * honest_share / (factor * rules.friend_share) if rules.friend_share else math.inf,
    )


def audit_probability(rule: DrawRule, weight: float) -> float:
    """Return the probability that a result of this weight, above zero, is audited."""
    if weight > rule.certain_above:
        return 1.0
    return min(1.0, max(rule.floor, weight / (rule.reserve + rule.own_factor * weight)))


def is_young(rule: DrawRule, weight: float) -> bool:
    """Return whether the bound needs an anchor for this weight: N < c δ w / (1 - δ).

    It would hold from one weight earlier on; from here on p is below 1 by the rule itself.
    """
    return weight > rule.young_above


def qualifying_weight(level: VerificationLevel, weight: float, rules: AuditRules) -> float:
    """Return the accepted weight from which on results of `weight` need no anchor: c δ w / (1 - δ)."""
    return AUDIT_FACTOR[level] * rules.friend_share * weight / (1.0 - rules.friend_share)


def earns_trust(role: int) -> bool:
    """Return whether an accepted commitment adds its weight to N: results and known answers do.

    Audits do not, though they are checked as well: the bound is a share of what is submitted as a result, and a vehicle
    that was given many audits could spend their weight on results that nobody counted.
    """
    return role != ReplicaRole.AUDIT


def factor_without_anchors(level: VerificationLevel, rules: AuditRules) -> float:
    """Return the factor whose bound holds where cars alone run young results again: min(c, (1 - δ) / δ).

    A friend lets pass what he audits, so a vehicle that cheats from its first result on keeps a share of δ.
    """
    factor = AUDIT_FACTOR[level]
    return min(factor, (1.0 - rules.friend_share) / rules.friend_share) if rules.friend_share else factor


def decay(weight: float, elapsed_seconds: float, *, idle_seconds: float, rules: AuditRules) -> float:
    """Return what an accepted weight is worth after a time; nothing once the vehicle has been idle for too long."""
    if idle_seconds >= rules.idle_seconds:
        return 0.0
    return weight * math.exp2(-max(0.0, elapsed_seconds) / rules.half_life_seconds)
