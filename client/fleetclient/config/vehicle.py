"""`[vehicle]` until its part owns it."""

from __future__ import annotations

from dataclasses import dataclass

from fleetclient.config.errors import ConfigInvalid
from fleetclient.config.sections import require_one_of
from fleetclient.wire import RETURN_REASONS


@dataclass(frozen=True, kw_only=True)
class VehicleConfig:
    """`[vehicle]`: where the car's state comes from, and what to do with work when it leaves.

    `away` lists absences of the simulated source as [start, end] in seconds since the agent began. While a file of the
    name `away_file` exists in the configuration's folder, the simulated car is away as well: for scripts.
    """

    source: str = "simulated"
    start_delay_seconds: float = 0.0
    away: tuple[tuple[float, float], ...] = ()
    away_file: str = ""
    away_reason: str = "driving"
    hand_back: bool = True

    def __post_init__(self) -> None:
        """Refuse what is no source or no absence."""
        require_one_of("source", self.source, ("simulated", "scripted"))
        require_one_of("away_reason", self.away_reason, RETURN_REASONS)
        if any(start < 0 or end <= start for start, end in self.away):
            raise ConfigInvalid("away: each absence must end after it starts")
