"""Watching the car: signals, the computer's own facts and the rules become one verdict, and a no freezes the runner.

The loop and the guard's thread both look; whoever is first sees the change. Nothing here waits or writes.
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
from fleetclient.rules.eligibility import evaluate
from fleetclient.rules.rules import Rules
from fleetclient.vehicle.signals import Signals
from fleetclient.vehicle.source import VehicleState

# A look is due at least this often: facts such as temperatures and caps wake nobody.
LOOK_SECONDS_MAX = 5.0
LOOK_SECONDS_MIN = 0.05
SUSPENDED = "suspended_ops"
# What a car remembers that has always been fit for work: it begins the moment its script lets it.
ALWAYS_WAS_FIT = Memory(was_allowed=True, open_since_elapsed=float("-inf"))


class Readable(Protocol):
    """The part of a signal source that is needed here."""

    def read(self, now_elapsed: float) -> Signals:
        """Return the latest snapshot, from memory."""
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

    `overlay` gives signals that this computer knows better than the car, such as the network it is on. `stop_reason` is
    why nothing at all may run here, whatever the car says; empty when it may. `unix` is the time by the server's clock.
    A scripted car has a `script`, which says how long its absence lasts where that is known, and waits for nothing.
    """

    def __init__(
        self,
        *,
        source: Readable,
        rules: Callable[[], Rules],
        facts: Callable[[float], LocalFacts],
        brake: Brake,
        log: Log,
        overlay: Callable[[float], Signals] = lambda _: Signals(),
        stop_reason: Callable[[], str] = lambda: "",
        script: Callable[[float], float | None] | None = None,
        unix: Callable[[], float] = wall_seconds,
    ) -> None:
        self._source = source
        self._rules = rules
        self._facts = facts
        self._brake = brake
        self._log = log
        self._overlay = overlay
        self._stop_reason = stop_reason
        self._script = script
        self._unix = unix
        self._lock = threading.Lock()
        self._memory = Memory() if script is None else ALWAYS_WAS_FIT
        self._has_failed = False
        self._due_at = float("-inf")
        self.look: Look | None = None

    def read(self, now: float) -> VehicleState:
        """Return the state at `now` (boot clock), from the last look while nothing can have changed since."""
        look = self.look
        if look is None or now >= self._due_at:
            return self.refresh(now)
        return look.state

    def refresh(self, now: float) -> VehicleState:
        """Look now and return the state; when it is a no, the runner is frozen by the time this returns."""
        with self._lock:
            look = self._make_look(now)
            if not look.state.eligible:
                self._brake.press()
            if self._script is None:
                self._memory = look.decision.memory
            self._due_at = now + max(LOOK_SECONDS_MIN, min(look.decision.next_check_seconds, LOOK_SECONDS_MAX))
            self.look = look
            return look.state

    def due_at(self) -> float:
        """Return when the next look is due though nobody has called, on the boot clock."""
        return self._due_at

    def _make_look(self, now: float) -> Look:
        at = Now(unix=self._unix(), elapsed=now)
        signals, facts = self._read_signals(now), self._facts(now)
        decision = evaluate(signals, self._rules(), at, facts=facts, memory=self._memory)
        if stop_reason := self._stop_reason():
            decision = _close(decision, Gate(name="fleet", is_open=False, reason=SUSPENDED, detail=stop_reason))
        state = VehicleState(
            eligible=decision.allow,
            reasons=decision.reasons,
            absent_seconds=None if decision.allow else self._foresee(decision, facts, at),
            is_finishing=decision.allow and facts.is_finishing,
        )
        return Look(at=at, signals=signals, facts=facts, decision=decision, state=state)

    def _foresee(self, decision: Decision, facts: LocalFacts, at: Now) -> float | None:
        """Return how long the car will stay unfit for work, None when nobody knows."""
        if decision.until_unix is not None:
            return max(0.0, decision.until_unix - at.unix)
        # The script knows when its car comes back, not when its owner ends a pause or the fleet goes on.
        is_scripted = self._script is not None and facts.paused_until_unix is None and SUSPENDED not in decision.reasons
        return self._script(at.elapsed) if self._script is not None and is_scripted else None

    def _read_signals(self, now: float) -> Signals:
        try:
            signals = self._source.read(now).overlaid_with(self._overlay(now))
        except Exception as error:  # noqa: BLE001 - one source of many: a car that cannot be heard is not ours to use
            if not self._has_failed:
                self._log.error("vehicle_source_failed", error=f"{type(error).__name__}: {error}")
            self._has_failed = True
            return Signals()
        self._has_failed = False
        return signals


def _close(decision: Decision, gate: Gate) -> Decision:
    return replace(
        decision,
        allow=False,
        reasons=(gate.reason, *decision.reasons),
        gates=(gate, *decision.gates),
        until_unix=None,
        # What held of a car at work holds no more: it begins again at the thresholds for beginning.
        memory=replace(decision.memory, was_allowed=False),
    )
