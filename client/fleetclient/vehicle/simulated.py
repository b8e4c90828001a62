"""The simulated source: absences from a schedule, in seconds since the agent began, and at a script's wish."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fleetclient.vehicle.source import VehicleState

BEFORE_START_REASON = "unplugged"


class SimulatedVehicle:
    """A car that is unplugged until `start_delay_seconds`, and away during each half-open [start, end).

    It is also away while `away_file` exists; nobody knows for how long.
    """

    def __init__(
        self,
        *,
        began_at: float,
        away: Sequence[tuple[float, float]] = (),
        away_reason: str = "driving",
        away_file: Path | None = None,
        start_delay_seconds: float = 0.0,
    ) -> None:
        self._began_at = began_at
        self._away_file = away_file
        self._away_reason = away_reason
        self._absences = [(start, end, away_reason) for start, end in away]
        if start_delay_seconds > 0:
            self._absences.append((0.0, start_delay_seconds, BEFORE_START_REASON))

    def read(self, now: float) -> VehicleState:
        """Return whether an absence covers `now`, and how long it will last."""
        if self._away_file is not None and self._away_file.exists():
            return VehicleState(eligible=False, reasons=(self._away_reason,))
        elapsed = now - self._began_at
        for start, end, reason in self._absences:
            if start <= elapsed < end:
                return VehicleState(eligible=False, reasons=(reason,), absent_seconds=end - elapsed)
        return VehicleState(eligible=True)
