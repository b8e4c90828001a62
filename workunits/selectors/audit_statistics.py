"""What the fleet's audits say: how far honest outputs are apart, by model and class, and how often results are audited.

Both read a bounded number of rows however long the tables are: the newest audits, and a sample of the replicas.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Final

from workunits.domain.audits.levels import LEVEL_NUMBER, VerificationLevel
from workunits.store.db import fetch_all, fetch_one

AUDITS_READ: Final = 50_000
PAIRS_SHOWN: Final = 200
RESULTS_READ: Final = 100_000
RATES_WINDOW: Final = timedelta(days=14)
# In tolerances: at most 1 agrees, at least 4 does not.
DISTANCE_EDGES: Final = (0.001, 0.01, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 10.0, 100.0)
LEVEL_OF: Final = {number: level for level, number in LEVEL_NUMBER.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Distances:
    """Distances between two classes for one model. `counts`: how many lie below each edge, the last one above all."""

    model_name: str
    model_public_id: str
    first_class: str
    second_class: str
    counts: list[int]
    largest: float

    @property
    def total(self) -> int:
        """How many audits there were."""
        return sum(self.counts)

    @property
    def beyond(self) -> int:
        """How many were more than a tolerance apart."""
        return sum(self.counts[DISTANCE_EDGES.index(1.0) + 1 :])


@dataclass(kw_only=True, slots=True)
class DayRates:
    """One day at one level. `results` is estimated from a sample; `outcomes` are those of the newest audits."""

    day: date
    level: VerificationLevel
    results: int = 0
    drawn_share: float | None = None
    outcomes: dict[str, int] = field(default_factory=dict)


def list_distances(*, model: str = "") -> tuple[list[Distances], bool]:
    """Return the distribution of distances by model and pair of classes, over the newest audits, and if there are more.

    Those with the largest share beyond the tolerance come first. `model`: the public id of the only one to look at.
    """
    buckets: dict[tuple[str, str, str, str], dict[int, tuple[int, float]]] = defaultdict(dict)
    parameters = {"edges": list(DISTANCE_EDGES), "audits_max": AUDITS_READ, "model": model}
    rows = fetch_all("count_distances", parameters)
    for _, name, public_id, first, second, bucket, count, largest in rows:
        buckets[(name, public_id, first, second)][bucket] = (count, largest)
    found_pairs = [
        Distances(
            model_name=name,
            model_public_id=public_id,
            first_class=first,
            second_class=second,
            counts=[found.get(bucket, (0, 0.0))[0] for bucket in range(len(DISTANCE_EDGES) + 1)],
            largest=max(largest for _, largest in found.values()),
        )
        for (name, public_id, first, second), found in buckets.items()
    ]
    found_pairs.sort(key=lambda pair: -pair.beyond / pair.total)
    return found_pairs[:PAIRS_SHOWN], len(found_pairs) > PAIRS_SHOWN


def list_rates(*, now: datetime) -> list[DayRates]:
    """Return results, draws and outcomes of the last days by level, oldest first."""
    since = now - RATES_WINDOW
    found: dict[tuple[date, int], DayRates] = {}

    def at(day: date, level: int) -> DayRates:
        return found.setdefault((day, level), DayRates(day=day, level=LEVEL_OF[level]))

    share = _sampled_share()
    for day, level, results, drawn in fetch_all("sample_results", {"percent": 100 * share, "since": since}):
        rates = at(day, LEVEL_NUMBER[VerificationLevel(level)])
        rates.results, rates.drawn_share = round(results / share), drawn / results
    for day, level, state, count in fetch_all("count_outcomes", {"since": since, "audits_max": AUDITS_READ}):
        at(day, level).outcomes[state] = count
    return [found[key] for key in sorted(found)]


def _sampled_share() -> float:
    row = fetch_one("estimate_replicas", {})
    there = row[0] if row else None
    return min(1.0, RESULTS_READ / there) if there else 1.0
