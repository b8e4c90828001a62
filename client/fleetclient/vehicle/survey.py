"""When cars come home and how long they stay plugged in: survey statistics, from an installed package or built in.

The package ev2gym carries the open charging data of ElaadNL (the Netherlands' knowledge centre for charging) as CSV
files. Only those files are read: the package itself is never imported, for it needs far more than it brings.
The built-in tables are the same survey in whole hours, rounded.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

PACKAGE = "ev2gym"
SECONDS_A_DAY = 86_400.0


@dataclass(frozen=True, kw_only=True)
class Survey:
    """Private charging points. `origin` says where the numbers are from.

    `arrivals`, `arrivals_weekend`: relative frequency of coming home in equal parts of the day, from midnight.
    `stay_hours`: mean hours plugged in by the hour of arrival. `stay_quantiles`: hours that a share of the sessions
    (equal steps, longest first) outlasts. `energy_quantiles_kwh`: likewise the energy charged in a session.
    """

    origin: str
    arrivals: tuple[float, ...]
    arrivals_weekend: tuple[float, ...]
    stay_hours: tuple[float, ...]
    stay_quantiles: tuple[float, ...]
    energy_quantiles_kwh: tuple[float, ...]

    def draw_arrival(self, dice: random.Random, *, is_weekend: bool) -> float:
        """Return a time of coming home, in seconds after midnight."""
        weights = self.arrivals_weekend if is_weekend else self.arrivals
        part = dice.choices(range(len(weights)), weights)[0]
        return (part + dice.random()) * SECONDS_A_DAY / len(weights)

    def draw_stay(self, dice: random.Random, arrival_seconds: float) -> float:
        """Return how long a car that came at this time stays plugged in, in seconds."""
        mean_hours = self.stay_hours[int(arrival_seconds // 3600) % 24]
        spread = _draw(dice, self.stay_quantiles) / (sum(self.stay_quantiles) / len(self.stay_quantiles))
        return 3600.0 * mean_hours * spread

    def draw_energy(self, dice: random.Random) -> float:
        """Return the energy that one session replaces, in kWh."""
        return _draw(dice, self.energy_quantiles_kwh)


def _draw(dice: random.Random, quantiles: Sequence[float]) -> float:
    place = dice.random() * (len(quantiles) - 1)
    low = int(place)
    return quantiles[low] + (place - low) * (quantiles[min(low + 1, len(quantiles) - 1)] - quantiles[low])


# fmt: off
BUILT_IN = Survey(
    origin="built in, after ElaadNL's open charging data",
    arrivals=(
        2.1, 0.5, 0.2, 0.1, 0.1, 0.1, 0.2, 0.6, 1.4, 1.1, 1.1, 1.5,
        2.2, 2.2, 2.7, 3.7, 5.7, 12.1, 17.0, 11.5, 9.1, 8.9, 9.1, 6.6,
    ),
    arrivals_weekend=(
        4.1, 2.0, 0.8, 0.3, 0.2, 0.1, 0.1, 0.4, 0.9, 1.7, 3.0, 4.8,
        6.0, 6.2, 6.2, 6.9, 8.8, 10.2, 7.9, 6.5, 6.8, 6.2, 5.8, 4.1,
    ),
    stay_hours=(
        9.1, 8.9, 7.2, 5.7, 4.7, 4.3, 4.6, 4.5, 3.2, 3.5, 3.4, 3.8,
        4.2, 4.7, 7.1, 14.9, 15.4, 14.7, 13.8, 13.0, 12.2, 11.2, 10.2, 9.6,
    ),
    stay_quantiles=(
        72.0, 29.3, 20.3, 17.4, 15.7, 14.6, 13.8, 13.2, 12.5, 11.8, 11.0, 10.3,
        9.5, 8.5, 6.5, 4.2, 3.1, 2.2, 1.5, 1.0, 0.0,
    ),
    energy_quantiles_kwh=(
        99.9, 59.6, 51.4, 45.6, 40.4, 35.8, 31.9, 28.2, 24.9, 22.1, 19.4, 17.1,
        14.6, 12.3, 10.1, 8.2, 6.6, 5.0, 3.3, 1.8, 0.0,
    ),
)
# fmt: on


@cache
def load_survey() -> Survey:
    """Return the survey of the installed package, or the built-in one where it is not installed."""
    try:
        distribution = metadata.distribution(PACKAGE)
    except metadata.PackageNotFoundError:
        return BUILT_IN
    return read_survey(Path(str(distribution.locate_file(f"{PACKAGE}/data"))), version=distribution.version)


def read_survey(folder: Path, *, version: str) -> Survey:
    """Return the survey in a folder of the package's CSV files."""
    stays = _column(folder / "mean-session-length-per.csv", "home", by_time=True)
    return Survey(
        origin=f"ElaadNL's open charging data, from {PACKAGE} {version}",
        arrivals=_column(folder / "distribution-of-arrival.csv", "private", by_time=True),
        arrivals_weekend=_column(folder / "distribution-of-arrival-weekend.csv", "private", by_time=True),
        stay_hours=tuple((stays[2 * hour] + stays[2 * hour + 1]) / 2 for hour in range(24)),
        stay_quantiles=_column(folder / "distribution-of-connection-time.csv", "private"),
        energy_quantiles_kwh=_column(folder / "distribution-of-energy-demand.csv", "private"),
    )


def _column(path: Path, name: str, *, by_time: bool = False) -> tuple[float, ...]:
    """Return a column in the order of the file, or of its first column where that is a time of day."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        header, *rows = [row for row in csv.reader(file) if row]
    column = header.index(name)
    if by_time:
        rows.sort(key=lambda row: row[0])
    return tuple(float(row[column]) for row in rows)
