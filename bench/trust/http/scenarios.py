"""The fleets that are run: who drives in them, and how the batch is verified."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from bench.trust.http.behaviours import (
    Cheater,
    Colluder,
    Faulty,
    Fisher,
    HalfPrecision,
    Honest,
    KernelBug,
    LazyCopier,
    Returner,
    Ring,
    Sleeper,
)
from workunits.domain.audits.levels import expected_wrong_share, is_audited

CLASSES: Final = ("cpu-fp32-ort1.32-avx2", "cpu-fp32-ort1.32-avx512", "cpu-fp32-ort1.32-neon")
BROKEN_CLASS: Final = "cpu-fp32-ort1.32-avx512vnni"

Maker = Callable[[str, random.Random], Honest]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """A fleet and a level. `adversaries`: by name, their share of the cars."""

    name: str
    level: str
    adversaries: Mapping[str, float] = field(default_factory=dict)
    quorum: int = 1

    @property
    def fleet(self) -> str:
        """The fleet in words."""
        return " and ".join(f"{share:.0%} {who}" for who, share in self.adversaries.items()) or "honest"

    def count(self, who: str, cars: int) -> int:
        """Return how many of so many cars are adversaries of a kind: at least one."""
        # One who agrees with himself only is no ring.
        return max(2 if who in ("colluding", "fishing") else 1, round(self.adversaries[who] * cars))

    def bound(self, cars: int) -> float:
        """Return the expected share of wrong weight among final results: f/c; that friends fill a quorum q: f**q."""
        share = sum(self.count(who, cars) for who in self.adversaries) / cars
        return expected_wrong_share(self.level, share) if is_audited(self.level) else share**self.quorum

    def cast(self, cars: int, rng: random.Random) -> list[Honest]:
        """Return a behaviour for each car, adversaries among the others at random; at least one of each kind."""
        makers = _makers()
        chosen: list[str] = []
        for who in self.adversaries:
            chosen += [who] * self.count(who, cars)
        chosen += ["honest"] * (cars - len(chosen))
        rng.shuffle(chosen)
        return [
            makers[who](
                BROKEN_CLASS if who == "kernel_bug" else CLASSES[index % len(CLASSES)],
                random.Random(rng.getrandbits(64)),
            )
            for index, who in enumerate(chosen)
        ]


def _makers() -> dict[str, Maker]:
    ring = Ring()
    return {
        "honest": Honest,
        "faulty": Faulty,
        "cheating": Cheater,
        "sleeping": Sleeper,
        "returning": Returner,
        "colluding": lambda comparison_class, rng: Colluder(comparison_class, rng, ring),
        "fishing": lambda comparison_class, rng: Fisher(comparison_class, rng, ring),
        "copying": LazyCopier,
        "half_precision": HalfPrecision,
        "kernel_bug": KernelBug,
    }


SCENARIOS: Final[tuple[Scenario, ...]] = (
    Scenario(name="quorum_2_honest", level="quorum", quorum=2),
    Scenario(name="quorum_2_cheating", level="quorum", quorum=2, adversaries={"cheating": 0.05}),
    Scenario(name="standard_honest", level="standard"),
    Scenario(name="standard_faulty", level="standard", adversaries={"faulty": 0.10}),
    Scenario(name="standard_cheating", level="standard", adversaries={"cheating": 0.02}),
    Scenario(name="standard_sleeping", level="standard", adversaries={"sleeping": 0.05}),
    Scenario(name="standard_returning", level="standard", adversaries={"returning": 0.02}),
    Scenario(name="standard_colluding", level="standard", adversaries={"colluding": 0.05}),
    Scenario(name="standard_fishing", level="standard", adversaries={"fishing": 0.05}),
    Scenario(name="standard_copying", level="standard", adversaries={"copying": 0.02}),
    Scenario(name="standard_half_precision", level="standard", adversaries={"half_precision": 0.05}),
    Scenario(name="standard_kernel_bug", level="standard", adversaries={"kernel_bug": 0.20}),
    Scenario(name="economy_colluding", level="economy", adversaries={"colluding": 0.05}),
    Scenario(name="strict_sleeping", level="strict", adversaries={"sleeping": 0.05}),
    Scenario(name="critical_colluding", level="critical", quorum=3, adversaries={"colluding": 0.05}),
)


def list_names() -> list[str]:
    """Return the names of all scenarios."""
    return [scenario.name for scenario in SCENARIOS]


def get_scenarios(names: tuple[str, ...]) -> list[Scenario]:
    """Return the scenarios of these names, all where none is given. Raises SystemExit for an unknown one."""
    by_name = {scenario.name: scenario for scenario in SCENARIOS}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise SystemExit(f"there is no scenario {unknown[0]!r}; there are {', '.join(by_name)}")
    return [by_name[name] for name in names or by_name]
