"""Which held units may run: those whose model the fleet's repository lists and which has not crashed here too often.

The director's signature on the lease is one half of the permission, the repository's the other; a unit runs only
when both agree. Looks at the repository are made in the background.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

from fleetclient.agent.background import Background
from fleetclient.units import Unit
from fleetclient.wire import HandBack

TRUST = "trust"


class Verdict(Protocol):
    """What a gate says of a model: a member of a string enumeration."""

    value: str


class Gate(Protocol):
    """The part of `trust.gate.TrustGate` that is needed here."""

    def judge(self, sha256: str, size_bytes: int) -> StrEnum:
        """Return `admitted`, `refused` or `pending`."""
        ...

    def want(self, models: list[tuple[str, int]]) -> None:
        """Say which models there is work for."""
        ...

    def is_due(self, now: float) -> bool:
        """Return True when a look at the repository is due."""
        ...

    def seconds_until_due(self, now: float) -> float:
        """Return how long that is off."""
        ...

    def refresh_if_due(self, now: float) -> bool:
        """Look; takes seconds."""
        ...


class Admission:
    """Judges units by their models. `refused_until` says until when (Unix seconds) a crashing model is refused."""

    def __init__(self, *, gate: Gate, background: Background, refused_until: Callable[[str], float | None]) -> None:
        self._gate = gate
        self._background = background
        self._refused_until = refused_until

    def start(self, units: list[Unit], *, now: float) -> None:
        """Have the repository looked at when it is time, or when a model of these units is not known yet."""
        self._gate.want(sorted({(unit.contract.model.sha256, unit.contract.model.bytes) for unit in units}))
        if self._gate.is_due(now) and not self._background.is_busy(TRUST):
            self._background.start(TRUST, lambda: self._gate.refresh_if_due(now))

    def seconds_until_due(self, now: float) -> float:
        """Return when `start` has something to do again."""
        return float("inf") if self._background.is_busy(TRUST) else self._gate.seconds_until_due(now)

    def is_admitted(self, unit: Unit) -> bool:
        """Return True when the unit may be fetched and run now."""
        model = unit.contract.model
        return self._gate.judge(model.sha256, model.bytes).value == "admitted"

    def refuse(self, unit: Unit) -> HandBack | None:
        """Return how to give the unit up when it must not run here; None when it may, or when that is not known yet."""
        model = unit.contract.model
        if self._refused_until(model.sha256) is not None:
            return _error(unit, "model_refused", "this model crashed here too often in the last day")
        if self._gate.judge(model.sha256, model.bytes).value == "refused":
            return _error(unit, "not_admitted", "the fleet's repository does not list this model with this size")
        return None


def _error(unit: Unit, reason: str, detail: str) -> HandBack:
    return HandBack(token=unit.token, kind="error", reason=reason, detail=detail)
