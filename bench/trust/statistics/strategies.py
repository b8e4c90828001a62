"""What simulated owners do: honest ones, faulty machines, and some fifty ways to cheat.

A strategy sees what its vehicle's record says, which is more than any owner is told: its accepted weight, how many of
its wrong results are still provisional, and every reset as it happens. It says for each result of a report whether it
will be wrong, before any draw, and cannot tell audits from other work.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from bench.trust.statistics.optimum import PENDING_MAX, find_optimum
from bench.trust.statistics.vehicle import UNIT, Vehicle
from workunits.domain.audits.draws import audit_probability


@dataclass(frozen=True, kw_only=True, slots=True)
class Strategy:
    """How an owner behaves; this one is honest.

    `returns`: he takes a new identity after every reset. `colludes`: he and his friends agree with each other's wrong
    results when one audits the other. `shuns`: he sees to it that he gets no audits, by handing something back now and
    then (who gave one up gets none for a while), so that his lies are in results only. Else every sixth of them would
    be in an audit of an honest result, and be found for certain: of all that a cheat may know and do, this brings him
    most.
    """

    name: str = "honest"
    returns: bool = False
    colludes: bool = False
    shuns: bool = False

    def plan(self, vehicle: Vehicle, count: int, left: int, rng: random.Random) -> Sequence[bool] | None:
        """Return which of a report's `count` results are wrong; None for none. `left`: results until it leaves."""
        return None

    def leaves(self, vehicle: Vehicle) -> bool:
        """Return whether he drops this identity now and comes back with another."""
        return False


@dataclass(frozen=True, kw_only=True, slots=True)
class Constant(Strategy):
    """Wrong with the same probability for ever, from the first result on or once it is believed for so many units."""

    share: float
    units: float = 0.0

    def plan(self, vehicle: Vehicle, count: int, left: int, rng: random.Random) -> Sequence[bool] | None:
        """Draw each result."""
        if vehicle.weight < self.units * UNIT:
            return None
        return [rng.random() < self.share for _ in range(count)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sleeper(Strategy):
    """Honest until it is believed for so many units, then wrong until it is caught; and again."""

    units: float

    def plan(self, vehicle: Vehicle, count: int, left: int, rng: random.Random) -> Sequence[bool] | None:
        """Cheat all the time once believed."""
        return [True] * count if vehicle.weight >= self.units * UNIT else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Burst(Strategy):
    """So many wrong ones in one report, then honest until they are final; and again. May leave with its success."""

    units: float
    size: int
    leaves_after: bool = False

    def plan(self, vehicle: Vehicle, count: int, left: int, rng: random.Random) -> Sequence[bool] | None:
        """Cheat once nothing wrong is provisional any more."""
        if vehicle.wrong or vehicle.weight < self.units * UNIT or (self.leaves_after and vehicle.final_wrong):
            return None
        start = rng.randrange(max(1, count - self.size + 1))
        return [start <= place < start + self.size for place in range(count)]

    def leaves(self, vehicle: Vehicle) -> bool:
        """Leave once something wrong is final and nothing wrong is provisional."""
        return self.leaves_after and vehicle.final_wrong > 0 and not vehicle.wrong


@dataclass(frozen=True, kw_only=True, slots=True)
class Paced(Strategy):
    """Wrong as often as it is audited, times a factor: the same risk for each result at any trust."""

    factor: float

    def plan(self, vehicle: Vehicle, count: int, left: int, rng: random.Random) -> Sequence[bool] | None:
        """Draw each result with the probability that it would be audited with, times the factor."""
        share = self.factor * audit_probability(vehicle.rule(), UNIT)
        return [rng.random() < share for _ in range(count)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaver(Strategy):
    """Honest until shortly before it leaves for good."""

    last: int

    def plan(self, vehicle: Vehicle, count: int, left: int, rng: random.Random) -> Sequence[bool] | None:
        """Cheat with what is left."""
        return [True] * count if left <= self.last else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Optimal(Strategy):
    """Plays what dynamic programming finds best (`optimum`), result by result; its last one is honest."""

    units: int
    friend_share: float

    def plan(self, vehicle: Vehicle, count: int, left: int, rng: random.Random) -> Sequence[bool] | None:
        """Follow the policy, as if nothing of this report was drawn before its end."""
        cheats = find_optimum(vehicle.level, vehicle.rules, self.units, self.friend_share).cheats
        believed, pending, plan = int(vehicle.committed - vehicle.began), len(vehicle.wrong), []
        for place in range(count):
            ahead = left - place
            is_wrong = ahead > 1 and bool(cheats[ahead, min(believed, self.units), min(pending, PENDING_MAX)])
            plan.append(is_wrong)
            believed, pending = believed + 1, pending + is_wrong
        return plan


HONEST = Strategy()
FAULTY = Constant(name="faulty 20 %", share=0.2)


def make_grid(*, units: int, friend_share: float = 0.0) -> list[Strategy]:
    """Return the strategies that are tried in lives of `units`, as lone cheats or as friends."""
    friends = friend_share > 0
    return [*_make_blind(units, friend_share, colludes=friends), *_make_shunning(units, friend_share, colludes=friends)]


def _make_blind(units: int, friend_share: float, *, colludes: bool) -> list[Strategy]:
    """Return those who run whatever they are given."""
    bursts = ((1, 0), (1, 50), (1, 100), (1, 200), (1, 400), (2, 100), (2, 300), (4, 100), (4, 300), (6, 300), (6, 600))
    stops = ((1, 50), (4, 100), (6, 300))
    return [
        Optimal(name="optimal", units=units, friend_share=friend_share, colludes=colludes),
        *(Constant(name=f"constant {s:g}", share=s, colludes=colludes) for s in (1.0, 0.3, 0.1, 0.05, 0.02, 0.01)),
        *(Sleeper(name=f"sleeper at {n}", units=n, colludes=colludes) for n in (10, 25, 50, 100, 200, 400, 700)),
        *(Burst(name=f"burst of {s} at {n}", units=n, size=s, colludes=colludes) for s, n in bursts),
        *(Paced(name=f"paced {x:g}", factor=x, colludes=colludes) for x in (0.1, 0.25, 0.5, 1.0)),
        *(Leaver(name=f"leaver with {n}", last=n, colludes=colludes) for n in (10, 20, 50)),
        *(
            Burst(name=f"stopper after {s} at {n}", units=n, size=s, leaves_after=True, returns=True, colludes=colludes)
            for s, n in stops
        ),
        Constant(name="returner constant 1", share=1.0, returns=True, colludes=colludes),
        Constant(name="returner constant 0.3", share=0.3, returns=True, colludes=colludes),
        Sleeper(name="returner sleeper at 50", units=50, returns=True, colludes=colludes),
    ]


def _make_shunning(units: int, friend_share: float, *, colludes: bool) -> list[Strategy]:
    """Return those who get no audits."""
    careful = ((0.3, 60), (0.3, 120), (0.3, 250), (0.3, 500), (0.1, 120), (0.1, 250))
    bursts = ((1, 50), (1, 200), (6, 300), (6, 600))
    return [
        Optimal(name="shunning optimal", units=units, friend_share=friend_share, colludes=colludes, shuns=True),
        *(
            Constant(name=f"shunning {s:g} from {n}", share=s, units=n, colludes=colludes, shuns=True)
            for s, n in careful
        ),
        *(
            Burst(name=f"shunning burst of {s} at {n}", units=n, size=s, colludes=colludes, shuns=True)
            for s, n in bursts
        ),
        *(Leaver(name=f"shunning leaver with {n}", last=n, colludes=colludes, shuns=True) for n in (10, 20)),
    ]
