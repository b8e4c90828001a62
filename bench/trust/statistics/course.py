"""Plays scenarios: many fleets of some hundred cars on all cores, and what their cars had wrong in the end.

The worst strategy is found in a fleet of its own, where every strategy has some cars; the figures then come from other
seeds, so that the choice does not flatter them.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from bench.trust.statistics.fleet import Car, Fleet, World
from bench.trust.statistics.interval import gamma_interval
from bench.trust.statistics.optimum import find_optimum
from bench.trust.statistics.scenarios import Scenario
from bench.trust.statistics.strategies import FAULTY, HONEST, Strategy, make_grid
from bench.trust.statistics.vehicle import Vehicle

FLEET_CARS: Final = 600
CARS_MIN: Final = 60
# A pilot plays every strategy a little, and then those that did best some more: the best of fifty little samples is
# the luckiest, and hardly ever the worst.
PILOT_FLEETS: Final = 8
PILOT_CARS_EACH: Final = 2
FINAL_STRATEGIES: Final = 6
FINAL_FLEETS: Final = 12
FINAL_CARS_EACH: Final = {False: 12, True: 5}
# Honest cars for each cheat of a pilot fleet: more where cheats are friends, for they audit each other.
PILOT_HONEST: Final = {False: 3, True: 9}


@dataclass(kw_only=True, slots=True)
class Tally:
    """What happened to the results of some cars. Sizes are one number a car that had any."""

    results: int = 0
    final: int = 0
    runs: int = 0
    anchor_runs: int = 0
    wrong_final: list[int] = field(default_factory=list)
    wrong_given: list[int] = field(default_factory=list)
    delays: list[int] = field(default_factory=list)
    unfound: int = 0  # lives that ended with something wrong in them, of owners who were never found out
    wrong_by_strategy: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    given_by_strategy: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, other: Tally) -> None:
        """Add another fleet's."""
        self.results += other.results
        self.final += other.final
        self.runs += other.runs
        self.anchor_runs += other.anchor_runs
        self.unfound += other.unfound
        self.wrong_final += other.wrong_final
        self.wrong_given += other.wrong_given
        self.delays += other.delays
        for name, count in other.wrong_by_strategy.items():
            self.wrong_by_strategy[name] += count
        for name, count in other.given_by_strategy.items():
            self.given_by_strategy[name] += count

    def wrong_share(self, strategy: Strategy) -> float:
        """Return how many of a strategy's results were wrong and became final."""
        return self.wrong_by_strategy[strategy.name] / max(1, self.given_by_strategy[strategy.name])


def play(world: World, strategies: Sequence[Strategy], seed: int) -> Tally:
    """Play one fleet. Raises RuntimeError where its books do not add up."""
    fleet = Fleet(world, strategies, seed)
    fleet.run()
    tally = Tally(anchor_runs=fleet.anchor_runs)
    for car in fleet.cars:
        _add_car(tally, car)
    return tally


def _add_car(tally: Tally, car: Car) -> None:
    identities: list[Vehicle] = [*car.old, car.vehicle]
    final = sum(each.final_count for each in identities)
    if final + sum(each.revoked_count for each in identities) != car.results or any(each.wrong for each in identities):
        raise RuntimeError(f"a car of strategy {car.strategy.name!r} has results that are neither final nor taken back")
    wrong = sum(each.final_wrong for each in identities)
    tally.results += car.results
    tally.final += final
    tally.runs += car.runs
    tally.wrong_by_strategy[car.strategy.name] += wrong
    tally.given_by_strategy[car.strategy.name] += car.given
    if wrong:
        tally.wrong_final.append(wrong)
    if car.wrong_given:
        tally.wrong_given.append(car.wrong_given)
    tally.delays += [delay for each in identities for delay in each.delays]
    tally.unfound += sum(each.first_wrong is not None for each in identities)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pilot:
    """The worst strategy, and how many wrong final results any car of any strategy had: so large an event may be."""

    worst: Strategy
    event_max: float = 1.0


class Course:
    """Runs scenarios on a pool of processes. `scale`: which share of the cars, for a quick look."""

    def __init__(self, pool: Executor, *, seed: int, scale: float) -> None:
        self.pool, self.seed, self.scale = pool, seed, scale
        self._worst: dict[tuple[World, bool], Pilot] = {}

    def run(self, scenario: Scenario) -> dict[str, object]:
        """Play a scenario and return its figures."""
        print(f"trust: {scenario.name}", file=sys.stderr, flush=True)
        pilot = self._choose(scenario)
        cars = max(CARS_MIN, round(scenario.cars * self.scale))
        fleets = -(-cars // FLEET_CARS)
        others = max(scenario.share > 0, round(scenario.share * -(-cars // fleets)))
        mix = [pilot.worst] * others + [HONEST] * (-(-cars // fleets) - others)
        tally = self._play_all(scenario.world(), [mix] * fleets, salt=scenario.name)
        return report(scenario, pilot, tally, cars=len(mix) * fleets, share=others / len(mix))

    def _choose(self, scenario: Scenario) -> Pilot:
        if scenario.kind in ("honest", "faulty"):
            return Pilot(worst=HONEST if scenario.kind == "honest" else FAULTY)
        colludes = scenario.kind == "friends"
        key = (replace(scenario.world(), models=1), colludes)
        if key not in self._worst:
            self._worst[key] = self._find_worst(*key)
        return self._worst[key]

    def _find_worst(self, world: World, colludes: bool) -> Pilot:  # noqa: FBT001  # unpacked from the key
        grid = make_grid(units=world.lives_units, friend_share=world.rules.friend_share if colludes else 0.0)
        each, fleets = self._scaled(1 if colludes else PILOT_CARS_EACH), self._scaled(PILOT_FLEETS)
        first = self._try(world, grid, colludes, each=each, fleets=fleets, salt="pilot")
        best = sorted(grid, key=first.wrong_share, reverse=True)[:FINAL_STRATEGIES]
        each, fleets = self._scaled(FINAL_CARS_EACH[colludes]), self._scaled(FINAL_FLEETS)
        second = self._try(world, best, colludes, each=each, fleets=fleets, salt="second pilot")
        event_max = float(max([*first.wrong_final, *second.wrong_final], default=1))
        return Pilot(worst=max(best, key=second.wrong_share), event_max=event_max)

    def _try(
        self,
        world: World,
        strategies: Sequence[Strategy],
        colludes: bool,  # noqa: FBT001  # as above
        *,
        each: int,
        fleets: int,
        salt: str,
    ) -> Tally:
        """Play fleets with so many cars of each strategy among honest ones."""
        liars = [one for one in strategies for _ in range(each)]
        mix = [*liars, *([HONEST] * (len(liars) * PILOT_HONEST[colludes]))]
        return self._play_all(world, [mix] * fleets, salt=salt)

    def _scaled(self, count: int) -> int:
        return max(1, round(count * self.scale))

    def _play_all(self, world: World, mixes: Sequence[Sequence[Strategy]], *, salt: str) -> Tally:
        seeds = [f"{self.seed} {salt} {world.level} {number}" for number in range(len(mixes))]
        total = Tally()
        for tally in self.pool.map(partial(play, world), mixes, [_seed_of(text) for text in seeds]):
            total.add(tally)
        return total


def _seed_of(text: str) -> int:
    return int.from_bytes(text.encode(), "big")


def report(scenario: Scenario, pilot: Pilot, tally: Tally, *, cars: int, share: float) -> dict[str, object]:
    """Return a scenario's figures. `met`: the upper end of the interval reaches the target and keeps the bound."""
    interval = gamma_interval(tally.wrong_final, tally.final, event_max=pilot.event_max)
    replication = (tally.runs + tally.anchor_runs) / tally.final
    bound = scenario.bound(share)
    limits = [bound] if scenario.share else []
    limits += [scenario.wrong_max] if scenario.wrong_max is not None else []
    is_met = all(interval[1] <= limit for limit in limits)
    is_met = is_met and (scenario.replication_max is None or replication <= scenario.replication_max)
    return {
        "name": scenario.name,
        "fleet": scenario.fleet,
        "level": scenario.level.value,
        "models": scenario.models,
        "strategy": pilot.worst.name,
        "adversarial_share": share,
        "replication": replication,
        "anchor_share": tally.anchor_runs / tally.final,
        "accepted_wrong": sum(tally.wrong_final) / tally.final,
        "accepted_wrong_ci95": list(interval),
        "provisional_wrong": sum(tally.wrong_given) / tally.results,
        "provisional_wrong_ci95": list(gamma_interval(tally.wrong_given, tally.results)),
        "detection_delay_units": sum(tally.delays) / len(tally.delays) if tally.delays else None,
        "detected_share": _share(len(tally.delays), len(tally.delays) + tally.unfound),
        "bound": bound,
        "optimum": _optimum(scenario, share),
        "lives": cars,
        "target": {"accepted_wrong": scenario.wrong_max, "replication": scenario.replication_max},
        "met": is_met,
    }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _optimum(scenario: Scenario, share: float) -> float | None:
    """Return what the best of all strategies would reach where audits are never late and trust does not decay."""
    if scenario.kind not in ("cheats", "friends") or scenario.models > 1 or not scenario.has_anchors:
        return None
    world = scenario.world()
    friend_share = world.rules.friend_share if scenario.kind == "friends" else 0.0
    best = find_optimum(world.level, world.rules, world.lives_units, friend_share)
    return share * best.wrong_final / world.lives_units
