"""Watching the car: signals, the computer's own facts and the rules become one verdict, and a no freezes the runner.

`read` is called by the loop and by the guard's thread; whoever is first sees the change. Nothing here waits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from fleetclient.agent.brake import Brake
from fleetclient.clock import wall_seconds
from fleetclient.logs import Log
from fleetclient.rules.decision import Decision, Gate, LocalFacts, Memory, Now
from fleetclient.rules.rules import Rules
from fleetclient.vehicle.signals import Signals
from fleetclient.vehicle.source import VehicleSource, VehicleState

# A look from memory is due at least this often: facts such as temperatures and caps wake nobody.
LOOK_SECONDS_MAX = 5.0
LOOK_SECONDS_MIN = 0.05
FINISHING = "finishing"
SUSPENDED = "suspended_ops"


class Readable(Protocol):
    """The part of a signal source that is needed here."""

    def read(self, now_elapsed: float) -> Signals:
        """Return the latest snapshot, from memory."""
        ...


class Evaluate(Protocol):
    """The one pure function of the rules."""

    def __call__(self, signals: Signals, rules: Rules, now: Now, *, facts: LocalFacts, memory: Memory) -> Decision:
        """Return the verdict."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What was seen and decided at one moment."""

    at: Now
    signals: Signals
    facts: LocalFacts
    decision: Decision
    state: VehicleState


class Watcher:
    """Decides whether the car may compute. Safe to use from several threads.

    `overlay` gives signals that this computer knows better than the car, such as the network it is on; `script` is a
    car that plays a schedule: away when the schedule says so, whatever the rules say. `stop_reason` is why the whole
    fleet was stopped, empty when it was not. `clock_offset_seconds` is the server's clock less this machine's.
    """

    def __init__(
        self,
        *,
        source: Readable,
        rules: Callable[[], Rules],
        evaluate: Evaluate,
        facts: Callable[[float], LocalFacts],
        brake: Brake,
        log: Log,
        overlay: Callable[[float], Signals] = lambda now: Signals(),
        script: VehicleSource | None = None,
        script_seconds: float = LOOK_SECONDS_MAX,
        stop_reason: Callable[[], str] = lambda: "",
        clock_offset_seconds: Callable[[], float] = lambda: 0.0,
        wall: Callable[[], float] = wall_seconds,
    ) -> None:
        self._source = source
        self._rules = rules
        self._evaluate = evaluate
        self._facts = facts
        self._brake = brake
        self._log = log
        self._overlay = overlay
        self._script = script
        self._look_seconds = min(script_seconds, LOOK_SECONDS_MAX) if script else LOOK_SECONDS_MAX
        self._stop_reason = stop_reason
        self._clock_offset_seconds = clock_offset_seconds
        self._wall = wall
        self._lock = threading.Lock()
        # A scripted car has been waiting for ever: it starts the moment its schedule lets it.
        self._memory = Memory() if script is None else _WAITED_LONG
        self._source_failed = False
        self._due_at = 0.0
        self.look: Look | None = None

    def read(self, now: float) -> VehicleState:
        """Return the state at `now` (boot clock); when it is a no, the runner is frozen by the time this returns."""
        with self._lock:
            look = self._look(now)
            if not look.state.eligible:
                self._brake.press()
            if self._script is None:
                self._memory = look.decision.memory
            self._due_at = now + max(LOOK_SECONDS_MIN, min(look.decision.next_check_seconds, self._look_seconds))
            self.look = look
            return look.state

    def due_at(self) -> float:
        """Return when the next look is due, on the boot clock."""
        return self._due_at

    def _look(self, now: float) -> Look:
        at = Now(unix=self._wall() + self._clock_offset_seconds(), elapsed=now)
        signals, facts = self._signals(now), self._facts(now)
        decision = self._evaluate(signals, self._rules(), at, facts=facts, memory=self._memory)
        if stop_reason := self._stop_reason():
            decision = _closed(decision, Gate(name="fleet", is_open=False, reason=SUSPENDED, detail=stop_reason))
        state = _state(decision, at)
        if self._script is not None:
            state = _joined(self._script.read(now), state)
        return Look(at=at, signals=signals, facts=facts, decision=decision, state=state)

    def _signals(self, now: float) -> Signals:
        try:
            signals = self._source.read(now).overlaid_with(self._overlay(now))
        except Exception as error:  # noqa: BLE001 - somebody's own source: a car that cannot be heard is not ours to use
            if not self._source_failed:
                self._log.error("vehicle_source_failed", error=f"{type(error).__name__}: {error}")
            self._source_failed = True
            return Signals()
        self._source_failed = False
        return signals


_WAITED_LONG = Memory(was_allowed=True, open_since_elapsed=float("-inf"))


def _closed(decision: Decision, gate: Gate) -> Decision:
    return replace(
        decision, allow=False, reasons=(gate.reason, *decision.reasons), gates=(gate, *decision.gates), until_unix=None
    )


def _state(decision: Decision, at: Now) -> VehicleState:
    if decision.allow:
        return VehicleState(eligible=True)
    if decision.reasons == (FINISHING,):
        return VehicleState(eligible=True, is_finishing=True)
    known = decision.until_unix is not None
    return VehicleState(
        eligible=False,
        reasons=decision.reasons,
        absent_seconds=max(0.0, decision.until_unix - at.unix) if known and decision.until_unix is not None else None,
    )


def _joined(script: VehicleState, rules: VehicleState) -> VehicleState:
    """Return what holds of a car that is away by its schedule, by the rules, or by both."""
    if script.eligible:
        return rules
    if rules.eligible:
        return script
    lengths = (script.absent_seconds, rules.absent_seconds)
    return VehicleState(
        eligible=False,
        reasons=(*script.reasons, *(reason for reason in rules.reasons if reason not in script.reasons)),
        absent_seconds=None if None in lengths else max(length for length in lengths if length is not None),
    )
