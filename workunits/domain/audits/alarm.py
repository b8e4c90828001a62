"""When lost audits of a model are the fault of a runtime, a tolerance or an anchor, and not of the cars that lost them.

A faulty kernel makes nearly every car of one comparison class return the same wrong numbers, honest ones too. Their
penalties should then be taken back; but whoever could bring that about could cheat without one. So what counts is
clusters and not cars, losers only where they had been believed in that class before (which cheap new identities have
not), and a class only where more clusters have lost than have passed: liars among honest cars never are so many.
A model that is judged wrongly everywhere, by a tolerance that is too small, shows as such a class in each of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class ModelAudit(NamedTuple):
    """An audit of a model's result that an anchor or a car settled.

    `was_believed`: for one that failed, whether its vehicle needed no anchor any more in this class until then.
    """

    cluster_id: int
    comparison_class: str
    has_failed: bool
    was_believed: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class AlarmRules:
    """A class is at fault when of its last `audits` at least `failed_share` failed, in at least `clusters` clusters."""

    audits: int
    failed_share: float
    clusters: int = 5


def find_faulty_classes(audits: Sequence[ModelAudit], rules: AlarmRules) -> frozenset[str]:
    """Return the comparison classes that a model is judged wrong in, whoever runs it. `audits`: newest first."""
    by_class: dict[str, list[ModelAudit]] = defaultdict(list)
    for audit in audits:
        by_class[audit.comparison_class].append(audit)
    return frozenset(name for name, listed in by_class.items() if _is_faulty(listed, rules))


def _is_faulty(audits: Sequence[ModelAudit], rules: AlarmRules) -> bool:
    last = audits[: rules.audits]
    if len(last) < rules.audits or sum(audit.has_failed for audit in last) < rules.failed_share * len(last):
        return False
    lost = {audit.cluster_id for audit in audits if audit.has_failed}
    believed = {audit.cluster_id for audit in audits if audit.has_failed and audit.was_believed}
    passed = {audit.cluster_id for audit in audits if not audit.has_failed} - lost
    return len(believed) >= rules.clusters and len(believed) > len(passed)
