"""How sure a batch wants to be of its results: a fixed quorum, or audits after the commitment.

An audited level has an audit factor c: whatever a vehicle does, the weight of its wrong results that become final is
in expectation at most the weight that it submits, divided by c (docs/explanation/how-results-are-trusted.md).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class VerificationLevel(StrEnum):
    """What a researcher chooses. Trust that a vehicle earns at one level counts at that level only."""

    QUORUM = "quorum"  # the batch's own number of agreeing outputs; no trust is earned or spent
    ECONOMY = "economy"
    STANDARD = "standard"
    STRICT = "strict"
    CRITICAL = "critical"  # every unit is run by three clusters


class Finality(StrEnum):
    """What a batch waits for before it is completed."""

    FINAL = "final"  # every row is final
    PROVISIONAL = "provisional"  # every row has a result; rows that turn out wrong are replaced later


# c, for each level whose results are audited.
AUDIT_FACTOR: Final[dict[VerificationLevel, float]] = {
    VerificationLevel.ECONOMY: 10.0,
    VerificationLevel.STANDARD: 50.0,
    VerificationLevel.STRICT: 500.0,
}
# What a level costs beside the pay of its first results, in millionths of it: what `bench trust` plays for honest cars
# of 1,000 units and one model (1.065, 1.18 and 1.63 runs a unit), rounded up. It pays for audits and known answers.
PREMIUM_PPM: Final[dict[VerificationLevel, int]] = {
    VerificationLevel.ECONOMY: 70_000,
    VerificationLevel.STANDARD: 200_000,
    VerificationLevel.STRICT: 650_000,
}
# As tables and tokens of the hot path store a level.
LEVEL_NUMBER: Final[dict[VerificationLevel, int]] = {
    VerificationLevel.QUORUM: 0,
    VerificationLevel.ECONOMY: 1,
    VerificationLevel.STANDARD: 2,
    VerificationLevel.STRICT: 3,
    VerificationLevel.CRITICAL: 4,
}
CRITICAL_QUORUM: Final = 3
ADVERSARIAL_SHARE_DEFAULT: Final = 0.05


def is_audited(level: VerificationLevel | str) -> bool:
    """Return whether results of this level are believed after one run and audited afterwards."""
    return VerificationLevel(level) in AUDIT_FACTOR


def premium_ppm(level: VerificationLevel | str) -> int:
    """Return a level's premium in millionths of what its first results earn; 0 where every run is paid as such."""
    return PREMIUM_PPM.get(VerificationLevel(level), 0)


def expected_wrong_share(level: VerificationLevel | str, adversarial_share: float) -> float:
    """Return f/c, the bound on the share of wrong weight among the fleet's final results; 0 where none is stated."""
    factor = AUDIT_FACTOR.get(VerificationLevel(level))
    return 0.0 if factor is None else adversarial_share / factor
