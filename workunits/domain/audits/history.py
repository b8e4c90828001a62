"""What a vehicle was believed over time, reckoned back from its weights as they were weighed last.

In: those weights, its accepted results, and what resets took. Out: for each level the weight after each of them.
Decay is left out: over the time that is shown it is small, and a line that sinks by itself would hide what happened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple


class Accepted(NamedTuple):
    """A result or known answer that was accepted."""

    at: datetime
    level: str
    weight: int


class Loss(NamedTuple):
    """A reset, and what each level had until then."""

    at: datetime
    weights: Mapping[str, int]


class Believed(NamedTuple):
    """What a vehicle was believed from then on."""

    at: datetime
    weight: int


def reckon_back(
    weights: Mapping[str, Believed], accepted: Sequence[Accepted], losses: Sequence[Loss]
) -> dict[str, list[Believed]]:
    """Return for each level what was believed, in order of time, up to when it was weighed last (`weights`).

    What was accepted since is left out. `accepted`, `losses`: in any order.
    """
    held = {level: last.weight for level, last in weights.items()}
    lines = {level: [last] for level, last in weights.items()}
    moves: list[Accepted | Loss] = [*accepted, *losses]
    # At the same moment the reset is the later one: what was accepted then, it took as well.
    for each in sorted(moves, key=lambda one: (one.at, isinstance(one, Loss)), reverse=True):
        if isinstance(each, Loss):
            for level in each.weights.keys() & weights.keys():
                lines[level] += [Believed(each.at, 0), Believed(each.at, each.weights[level])]
                held[level] = each.weights[level]
        elif each.level in weights and each.at <= weights[each.level].at:
            lines[each.level].append(Believed(each.at, held[each.level]))
            held[each.level] = max(0, held[each.level] - each.weight)
    return {level: line[::-1] for level, line in lines.items()}
