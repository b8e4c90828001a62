"""When a simulated car's people go where: commuting, errands, weekend trips. A pure function of seed and date.

Times are seconds since the midnight of the day on which the outing begins; a weekend away ends on the next day.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import date, timedelta

from fleetclient.vehicle.survey import Survey

HOUR, MINUTE = 3600.0, 60.0
SATURDAY, SUNDAY = 5, 6
HOME_OFFICE_SHARE, ERRAND_SHARE, WEEKEND_DRIVE_SHARE, WEEKEND_AWAY_SHARE = 0.12, 0.15, 0.7, 0.15
# Of the energy of one charging session: a session replaces more than one day's driving.
DAY_SHARE_OF_SESSION = 0.5
ERRAND_KWH = 1.6
KWH_A_SECOND = 0.17 * 50.0 / 3600.0  # 17 kWh for 100 km, at 50 km/h on average
LEG_SECONDS_MIN, LEG_SECONDS_MAX = 6 * MINUTE, 3 * HOUR
EARLIEST_DEPARTURE, LATEST_ARRIVAL = 5 * HOUR, 23.75 * HOUR


@dataclass(frozen=True, kw_only=True, slots=True)
class Outing:
    """Out and back: two drives with a stop between them, and the energy of both at mild weather."""

    departs_at: float
    stops_at: float
    leaves_at: float
    arrives_at: float
    kwh: float


def plan_outings(seed: int, day: date, survey: Survey) -> list[Outing]:
    """Return the outings that begin on a day, in their order, without overlap."""
    dice = make_dice(seed, "outings", day)
    if day.weekday() == SUNDAY and _is_away_overnight(seed, day - timedelta(days=1)):
        return []
    if day.weekday() == SATURDAY and _is_away_overnight(seed, day):
        return [_weekend_away(dice, survey)]
    if day.weekday() in (SATURDAY, SUNDAY):
        return _weekend_day(dice, survey)
    return _working_day(dice, survey, commute_kwh=_commute_kwh(seed, survey))


def make_dice(seed: int, what: str, day: date | None = None) -> random.Random:
    """Return chance that is the same for one seed, purpose and day, whatever was drawn before."""
    return random.Random(f"{seed}/{what}/{day.toordinal() if day else ''}")  # noqa: S311 - a simulation, no secret


def _is_away_overnight(seed: int, saturday: date) -> bool:
    return make_dice(seed, "weekend", saturday).random() < WEEKEND_AWAY_SHARE


def _commute_kwh(seed: int, survey: Survey) -> float:
    energy = survey.draw_energy(make_dice(seed, "commute")) * DAY_SHARE_OF_SESSION
    return min(max(energy, 2.0), 20.0)


def _working_day(dice: random.Random, survey: Survey, *, commute_kwh: float) -> list[Outing]:
    outings = []
    if dice.random() >= HOME_OFFICE_SHARE:
        arrives_at = _draw_arrival(dice, survey, earliest=14 * HOUR, is_weekend=False)
        departs_at = min(max(dice.gauss(7.6 * HOUR, 25 * MINUTE), EARLIEST_DEPARTURE), 10 * HOUR)
        outings.append(_make_outing(departs_at, arrives_at, commute_kwh))
    home_at = outings[-1].arrives_at if outings else 12 * HOUR
    if dice.random() < ERRAND_SHARE and home_at < 20 * HOUR:
        departs_at = home_at + dice.uniform(0.75, 1.5) * HOUR
        outings.append(_make_outing(departs_at, departs_at + dice.uniform(1.0, 2.0) * HOUR, ERRAND_KWH))
    return outings


def _weekend_day(dice: random.Random, survey: Survey) -> list[Outing]:
    if dice.random() >= WEEKEND_DRIVE_SHARE:
        return []
    arrives_at = _draw_arrival(dice, survey, earliest=10 * HOUR, is_weekend=True)
    departs_at = max(arrives_at - dice.uniform(1.5, 6.0) * HOUR, 8 * HOUR)
    return [_make_outing(departs_at, arrives_at, survey.draw_energy(dice) * DAY_SHARE_OF_SESSION)]


def _weekend_away(dice: random.Random, survey: Survey) -> Outing:
    arrives_at = 24 * HOUR + _draw_arrival(dice, survey, earliest=14 * HOUR, is_weekend=True)
    return _make_outing(dice.uniform(8.0, 11.0) * HOUR, arrives_at, dice.uniform(20.0, 40.0))


def _draw_arrival(dice: random.Random, survey: Survey, *, earliest: float, is_weekend: bool) -> float:
    for _ in range(50):
        if earliest <= (drawn := survey.draw_arrival(dice, is_weekend=is_weekend)) <= LATEST_ARRIVAL:
            return drawn
    return 17.5 * HOUR


def _make_outing(departs_at: float, arrives_at: float, kwh: float) -> Outing:
    leg = min(max(kwh / 2 / KWH_A_SECOND, LEG_SECONDS_MIN), LEG_SECONDS_MAX, (arrives_at - departs_at) / 3)
    return Outing(
        departs_at=departs_at,
        stops_at=departs_at + leg,
        leaves_at=arrives_at - leg,
        arrives_at=arrives_at,
        kwh=min(kwh, 2 * leg * 2 * KWH_A_SECOND),
    )
