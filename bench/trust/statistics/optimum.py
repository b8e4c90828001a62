"""The best that any strategy can do, computed instead of tried: dynamic programming over a whole life.

The cheat knows the rule, sees the outcome of every audit at once, and decides result by result. Its state is what it is
believed for and how many wrong results are provisional; an audit that passes makes those final, one that fails takes
them back and resets it. Trust does not decay here and audits are never late, both to the cheat's advantage, so a fleet
can only do better than the value. The policy is one more strategy of the grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from workunits.domain.audits.draws import AuditRules, TrustWeights, audit_probability, is_young, make_draw_rule
from workunits.domain.audits.levels import VerificationLevel

PENDING_MAX: Final = 16


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Optimum:
    """What to do, and what comes of it.

    Attributes:
        wrong_final: the expected number of wrong final results in a life.
        cheats: whether the next one is wrong, by results left, results believed, and wrong ones provisional.
    """

    wrong_final: float
    cheats: NDArray[np.bool_]


@lru_cache(maxsize=8)
def find_optimum(level: VerificationLevel, rules: AuditRules, units: int, friend_share: float) -> Optimum:
    """Return the best for a life of `units` results, audited by a friend with probability `friend_share`."""
    drawn, friends = _probabilities(level, rules, units, friend_share)
    pending = np.arange(PENDING_MAX + 1, dtype=float)
    value = np.tile(pending, (units + 1, 1))  # what is provisional at the end counts in full
    cheats = np.zeros((units + 1, units + 1, PENDING_MAX + 1), dtype=bool)
    for left in range(1, units + 1):
        ahead = np.vstack((value[1:], value[-1:]))
        more = np.hstack((ahead[:, 1:], np.full((units + 1, 1), -np.inf)))
        settled = ahead[:, :1]
        honest = drawn * (pending + settled) + (1.0 - drawn) * ahead
        caught = drawn * (1.0 - friends) * value[0, 0]
        passed = drawn * friends * (pending + 1.0 + settled)
        wrong = np.where(drawn < 1.0, (1.0 - drawn) * np.where(drawn < 1.0, more, 0.0), 0.0) + caught + passed
        cheats[left] = wrong > honest
        value = np.maximum(wrong, honest)
    return Optimum(wrong_final=float(value[0, 0]), cheats=cheats)


def _probabilities(
    level: VerificationLevel, rules: AuditRules, units: int, friend_share: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return as columns, by believed units: the probability of a draw, and that a friend makes the audit."""
    table = [
        make_draw_rule(
            level, TrustWeights(level=believed, comparison_class=believed, model=believed), rules, is_watched=False
        )
        for believed in map(float, range(units + 1))
    ]
    drawn = [1.0 if is_young(rule, 1.0) else audit_probability(rule, 1.0) for rule in table]
    friends = [0.0 if is_young(rule, 1.0) else friend_share for rule in table]
    return np.array(drawn)[:, None], np.array(friends)[:, None]
