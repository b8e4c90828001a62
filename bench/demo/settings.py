"""Numbers of the demonstration: how long things take where everything should happen within two minutes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleetcompute.embedded.home import PROJECT_ROOT

# What an operator would set in minutes is seconds here.
SERVER_ENV: Final = {
    "FLEET_LEASE_SECONDS": "20",
    "FLEET_SYNC_SECONDS_WORKING": "0.7",
    "FLEET_SYNC_SECONDS_IDLE": "0.7",
    "FLEET_PAIRING_INTERVAL_SECONDS": "1",
    "FLEET_SWEEP_SECONDS": "1",
    "FLEET_SETTLE_SECONDS": "2",
    "FLEET_UNIT_TARGET_SECONDS": "0.5",
}
UNITS_WANTED: Final = 50
UNIT_ROWS_MIN: Final = 16
UNIT_ROWS_MAX: Final = 64
BLOCK_ROWS: Final = 8
QUORUM: Final = 2

SPOILABLE: Final = ("output", "rows", "cheater", "ledger")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line chose.

    Attributes:
        home: data, keys and logs; erased at the start.
        output: where the result files go.
        rows: at most so many rows of each dataset; None for all.
        spoil: the check whose evidence is falsified before it is made, to show that it can fail; None for none.
    """

    home: Path = PROJECT_ROOT / ".fleet" / "demo"
    output: Path = PROJECT_ROOT / "demo-output"
    rows: int | None = None
    spoil: str | None = None


def choose_unit_rows(rows: int) -> int:
    """Return how many rows a work unit may have: some fifty units, in whole blocks of the model."""
    wanted = rows // UNITS_WANTED // BLOCK_ROWS * BLOCK_ROWS
    return min(UNIT_ROWS_MAX, max(UNIT_ROWS_MIN, wanted))


def server_env(rows: int) -> dict[str, str]:
    """Return the server's settings for datasets of about so many rows."""
    return {**SERVER_ENV, "FLEET_UNIT_ROWS_MAX": str(choose_unit_rows(rows))}
