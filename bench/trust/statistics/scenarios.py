"""The fleets that are played, and what each has to reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bench.trust.statistics.fleet import World
from workunits.domain.audits.draws import AuditRules, factor_without_anchors
from workunits.domain.audits.levels import VerificationLevel, expected_wrong_share

SOFT_ERROR: Final = 1e-5
STANDARD, ECONOMY, STRICT = VerificationLevel.STANDARD, VerificationLevel.ECONOMY, VerificationLevel.STRICT
RULES: Final = AuditRules()
# How late audits may be where they are late: twelve turns are two days, or 72 units.
LATE_TURNS: Final = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """A fleet with a share `share` of cars of one kind: `cheats` and `friends` play the worst strategy of the grid.

    `cars`: how many are played in all. `wrong_max`, `replication_max`: targets, beside the bound.
    """

    name: str
    fleet: str
    kind: str = "honest"  # or cheats, friends, faulty
    share: float = 0.0
    level: VerificationLevel = STANDARD
    models: int = 1
    cars: int
    has_anchors: bool = True
    delay_turns: int = 2
    wrong_max: float | None = None
    replication_max: float | None = None

    def bound(self, share: float) -> float:
        """Return the share of wrong final weight that the theorem allows, honest cars' soft errors added."""
        if not self.has_anchors:
            return share / factor_without_anchors(self.level, RULES) + SOFT_ERROR
        return expected_wrong_share(self.level, share) + SOFT_ERROR

    def world(self) -> World:
        """Return what the fleet lives in."""
        return World(
            level=self.level,
            rules=RULES,
            models=self.models,
            has_anchors=self.has_anchors,
            delay_turns=self.delay_turns,
            soft_error=SOFT_ERROR,
        )


SCENARIOS: Final = (
    Scenario(name="honest", fleet="all honest", cars=3_000, replication_max=1.20),
    Scenario(name="honest-economy", fleet="all honest", level=ECONOMY, cars=1_000),
    Scenario(name="honest-strict", fleet="all honest", level=STRICT, cars=1_000),
    Scenario(name="honest-10-models", fleet="all honest", models=10, cars=1_000),
    Scenario(name="honest-late", fleet="all honest, audits up to two days late", delay_turns=LATE_TURNS, cars=1_000),
    Scenario(
        name="malicious",
        fleet="1 % malicious",
        kind="cheats",
        share=0.01,
        cars=12_000,
        wrong_max=2e-4,
        replication_max=1.20,
    ),
    Scenario(name="malicious-economy", fleet="1 % malicious", kind="cheats", share=0.01, level=ECONOMY, cars=6_000),
    Scenario(name="malicious-strict", fleet="1 % malicious", kind="cheats", share=0.01, level=STRICT, cars=8_000),
    Scenario(name="malicious-10-models", fleet="1 % malicious", kind="cheats", share=0.01, models=10, cars=4_000),
    Scenario(name="colluding", fleet="5 % colluding", kind="friends", share=0.05, cars=4_000, wrong_max=1e-3),
    Scenario(
        name="colluding-no-anchors",
        fleet="5 % colluding, new cars audited by cars",
        kind="friends",
        share=0.05,
        cars=3_000,
        has_anchors=False,
    ),
    Scenario(name="faulty", fleet="10 % faulty (20 % wrong)", kind="faulty", share=0.1, cars=4_000, wrong_max=5e-5),
)
