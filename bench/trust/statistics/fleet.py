"""A whole fleet in turns: every car reports what it holds, audits go to other cars, anchors run what they must.

One turn is one sync of every car. A report's results are drawn with the weight that its vehicle had at the report's
start. An audit waits for a random number of turns, is leased by a random car that is not young, and ends when that
car has reported; where both differ, an anchor ends it a turn later. Re-runs are leased among the other work and look
like it. A car that has given all its results still audits until everything is final.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from bench.trust.statistics.strategies import Strategy
from bench.trust.statistics.vehicle import UNIT, Vehicle
from workunits.domain.audits.draws import AuditRules, DrawRule, audit_probability, is_young
from workunits.domain.audits.ladder import settle_dispute
from workunits.domain.audits.levels import VerificationLevel
from workunits.domain.audits.sequence import AuditState
from workunits.domain.audits.standing import Standing
from workunits.domain.comparison import MISMATCH_MIN
from workunits.domain.replicas import ReplicaRole

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
FORCE_TURNS: Final = 6
# How far a wrong output is from a right one, and from another wrong one, in tolerances.
WRONG_DISTANCE: Final = 100 * MISMATCH_MIN


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """What a fleet lives in. `turn_hours`: from sync to sync; `hold_hours`: until a provisional result is forced."""

    level: VerificationLevel
    rules: AuditRules
    models: int = 1
    lives_units: int = 1_000
    report_units: int = 6
    turn_hours: float = 4.0
    delay_turns: int = 2
    hold_hours: float = 72.0
    arrival_turns: int = 24
    anchor_floor: float = 0.001
    soft_error: float = 1e-5
    has_anchors: bool = True


@dataclass(kw_only=True, slots=True, eq=False)
class Car:
    """An owner's car over all its identities."""

    strategy: Strategy
    vehicle: Vehicle
    starts: int
    given: int = 0  # results and known answers
    results: int = 0
    runs: int = 0  # everything that it ran
    wrong_given: int = 0
    old: list[Vehicle] = field(default_factory=list)
    leases: list[Lease] = field(default_factory=list)
    audits: list[Audit] = field(default_factory=list)  # to lease at the next turn


@dataclass(kw_only=True, slots=True, eq=False)
class Audit:
    """An open audit of one result."""

    car: Car
    vehicle: Vehicle
    sequence: int
    is_wrong: bool
    opens: int

    @property
    def is_void(self) -> bool:
        """Whether its result was taken back."""
        return self.sequence not in self.vehicle.open


@dataclass(kw_only=True, slots=True, eq=False)
class Lease:
    """One replica that a car holds."""

    role: ReplicaRole
    model: int
    audit: Audit | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Dispute:
    """Two outputs that differ, or one that has no other: an anchor decides at turn `at`."""

    at: int
    audit: Audit
    auditor: Audit | None = None
    pair_distance: float = 0.0


class Fleet:
    """A fleet of cars. `run` plays it to its end; then the cars hold what became of their results."""

    def __init__(self, world: World, strategies: Sequence[Strategy], seed: int) -> None:
        self.world, self.rng = world, random.Random(seed)
        self.turn, self.now = 0, START
        self.cars = [
            Car(strategy=each, vehicle=self._make_vehicle(), starts=self.rng.randrange(world.arrival_turns))
            for each in strategies
        ]
        self.audits: list[Audit] = []
        self.disputes: deque[Dispute] = deque()
        self.anchor_runs = 0
        self.has_known = False

    def run(self) -> None:
        """Play until every car has given its results and all of them are final or taken back."""
        active, is_over = list(self.cars), False
        while not is_over:
            self.now = START + self.turn * timedelta(hours=self.world.turn_hours)
            self._run_anchors()
            for car in self.cars:
                if car.leases:
                    self._report(car)
            if self.turn % FORCE_TURNS == 0 or not active:
                self._force(everything=not active)
            is_over = not (active or self.audits or self.disputes or self._has_leases())
            self._offer_audits()
            for car in self.cars:
                if car.starts <= self.turn:
                    self._lease(car)
            active = [car for car in active if car.given < self.world.lives_units]
            self.turn += 1

    def _has_leases(self) -> bool:
        return any(car.leases or car.audits for car in self.cars)

    def _make_vehicle(self) -> Vehicle:
        return Vehicle(level=self.world.level, rules=self.world.rules, models=self.world.models, at=self.now)

    # --- a car's sync: its report, then its leases

    def _report(self, car: Car) -> None:
        vehicle, strategy = car.vehicle, car.strategy
        vehicle.fold(self.now)
        plan = strategy.plan(vehicle, len(car.leases), self.world.lives_units - car.given, self.rng)
        rules: dict[int, DrawRule] = {}
        for place, lease in enumerate(car.leases):
            car.runs += 1
            is_wrong = (plan is not None and plan[place]) or self.rng.random() < self.world.soft_error
            if lease.role == ReplicaRole.PRIMARY:
                if lease.model not in rules:
                    rules[lease.model] = vehicle.rule(lease.model)
                self._give(car, lease, rules[lease.model], is_wrong=is_wrong)
            else:
                self._check(car, lease, is_wrong=is_wrong)
        car.leases = []
        # Consequences come after the report, as they do where a stage of its own folds them.
        if strategy.leaves(vehicle):
            self._leave(car)

    def _give(self, car: Car, lease: Lease, rule: DrawRule, *, is_wrong: bool) -> None:
        vehicle, world = car.vehicle, self.world
        sequence = vehicle.commit(lease.role, lease.model, self.turn, is_wrong=is_wrong)
        car.given += 1
        car.results += 1
        car.wrong_given += is_wrong
        is_new = is_young(rule, UNIT)
        is_drawn = is_new or self.rng.random() < audit_probability(rule, UNIT)
        is_floor = world.has_anchors and self.rng.random() < world.anchor_floor
        if not is_drawn and not is_floor:
            return
        vehicle.open.add(sequence)
        opens = self.turn + self.rng.randint(0, world.delay_turns)
        audit = Audit(car=car, vehicle=vehicle, sequence=sequence, is_wrong=is_wrong, opens=opens)
        if world.has_anchors and (is_new or is_floor):
            self.disputes.append(Dispute(at=self.turn + 1, audit=audit))
        else:
            self.audits.append(audit)

    def _check(self, car: Car, lease: Lease, *, is_wrong: bool) -> None:
        """Take a re-run's output: what it is compared with is the audited result, or a known answer."""
        vehicle, audited = car.vehicle, lease.audit
        colludes = audited is not None and car.strategy.colludes and audited.car.strategy.colludes
        if audited is not None and colludes:
            is_wrong = audited.is_wrong  # a friend's unit is recognised, and answered as the friend did
        sequence = vehicle.commit(lease.role, lease.model, self.turn, is_wrong=is_wrong)
        if audited is None:
            car.given += 1
            state = AuditState.FAILED if is_wrong else AuditState.PASSED
            self._end(car, vehicle, sequence, state)
            return
        if audited.is_void:
            return
        if colludes or (not is_wrong and not audited.is_wrong):
            self._end(car, vehicle, sequence, AuditState.PASSED)
            self._end(audited.car, audited.vehicle, audited.sequence, AuditState.PASSED)
            self.has_known = True
            return
        vehicle.open.add(sequence)
        mirror = Audit(car=car, vehicle=vehicle, sequence=sequence, is_wrong=is_wrong, opens=self.turn)
        self.disputes.append(Dispute(at=self.turn + 1, audit=audited, auditor=mirror, pair_distance=WRONG_DISTANCE))

    def _lease(self, car: Car) -> None:
        world, vehicle = self.world, car.vehicle
        car.leases = [Lease(role=ReplicaRole.AUDIT, model=self._model(), audit=audit) for audit in car.audits]
        car.audits = []
        left = min(world.lives_units - car.given, world.report_units - len(car.leases))
        if left <= 0:
            return
        known = min(left, vehicle.known_wanted()) if self.has_known else 0
        car.leases += [Lease(role=ReplicaRole.KNOWN, model=self._model()) for _ in range(known)]
        car.leases += [Lease(role=ReplicaRole.PRIMARY, model=self._model()) for _ in range(left - known)]
        self.rng.shuffle(car.leases)

    def _model(self) -> int:
        return self.rng.randrange(self.world.models) if self.world.models > 1 else 0

    # --- audits

    def _offer_audits(self) -> None:
        """Give each open audit to a random car that may run it."""
        waiting = []
        for audit in self.audits:
            if audit.is_void:
                continue
            taker = self._find_auditor(audit) if audit.opens <= self.turn else None
            if taker is None:
                waiting.append(audit)
            else:
                taker.audits.append(audit)
        self.audits = waiting

    def _find_auditor(self, audit: Audit) -> Car | None:
        for _ in range(20):
            car = self.cars[self.rng.randrange(len(self.cars))]
            is_free = car.starts <= self.turn and len(car.audits) < self.world.report_units and not car.strategy.shuns
            if car is not audit.car and is_free and (not car.vehicle.is_young() or not self.world.has_anchors):
                return car
        return None

    def _run_anchors(self) -> None:
        while self.disputes and self.disputes[0].at <= self.turn:
            self._settle(self.disputes.popleft())

    def _settle(self, dispute: Dispute) -> None:
        self.anchor_runs += 1
        audit, auditor = dispute.audit, dispute.auditor
        distance = WRONG_DISTANCE if audit.is_wrong else 0.0
        other = WRONG_DISTANCE if auditor is not None and auditor.is_wrong else 0.0
        outcome = settle_dispute(distance, other, dispute.pair_distance)
        if not audit.is_void:
            self._end(audit.car, audit.vehicle, audit.sequence, outcome.primary)
            self.has_known = True
        if auditor is not None and not auditor.is_void:
            self._end(auditor.car, auditor.vehicle, auditor.sequence, outcome.auditor)

    def _end(self, car: Car, vehicle: Vehicle, sequence: int, state: AuditState) -> None:
        was_reset = vehicle.end_audit(sequence, state, self.now)
        if was_reset and vehicle is car.vehicle and (car.strategy.returns or vehicle.standing is Standing.QUARANTINED):
            self._leave(car)

    def _leave(self, car: Car) -> None:
        """Take a new identity: whoever is locked out or wants to be forgotten comes back as somebody else."""
        car.old.append(car.vehicle)
        car.vehicle = self._make_vehicle()

    def _force(self, *, everything: bool) -> None:
        """Audit the newest result of each vehicle that has been provisional for too long; in the end, the newest."""
        oldest_turn = self.turn - self.world.hold_hours / self.world.turn_hours
        for car in self.cars:
            for vehicle in (car.vehicle, *car.old):
                sequence = next(
                    (s for s in vehicle.provisional() if everything or vehicle.rounds[s - 1] <= oldest_turn), None
                )
                if sequence is None or any(mark >= sequence for mark in vehicle.open):
                    continue
                vehicle.open.add(sequence)
                is_wrong = sequence in vehicle.wrong
                self.audits.append(
                    Audit(car=car, vehicle=vehicle, sequence=sequence, is_wrong=is_wrong, opens=self.turn)
                )
