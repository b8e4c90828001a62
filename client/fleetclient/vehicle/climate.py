"""Temperatures of a simulated car, in °C: seasons, days and weather outside, people's warmth inside. Pure."""

from __future__ import annotations

import math
from datetime import date, timedelta

from fleetclient.vehicle.outings import make_dice

HOUR = 3600.0
COMFORT_C = 21.0
WARMEST_DAY, WARMEST_HOUR = 201, 15.0  # 20 July; mid-afternoon
DAY_SWING_C, WEATHER_C, SUN_C = 4.0, 3.0, 14.0
COOLING_SECONDS, HEATING_SECONDS = 2400.0, 400.0


def outside_temp(seed: int, day: date, seconds: float, *, warmest_c: float, coldest_c: float) -> float:
    """Return the temperature outside, `seconds` after a day's midnight; continuous over midnights."""
    year_part = math.cos(2 * math.pi * (day.timetuple().tm_yday - WARMEST_DAY + seconds / 86_400) / 365.25)
    day_part = math.cos(2 * math.pi * (seconds / HOUR - WARMEST_HOUR) / 24)
    today, tomorrow = (make_dice(seed, "weather", each).gauss(0, WEATHER_C) for each in (day, day + timedelta(days=1)))
    weather = today + (tomorrow - today) * seconds / 86_400
    return (warmest_c + coldest_c) / 2 + (warmest_c - coldest_c) / 2 * year_part + DAY_SWING_C * day_part + weather


def parked_cabin_temp(outside_c: float, seconds: float, *, is_home: bool) -> float:
    """Return what an empty cabin settles at: near the outside in a garage, and well above it in the sun."""
    if is_home:
        return 0.6 * outside_c + 0.4 * 15.0
    height = max(0.0, math.sin(math.pi * (seconds / HOUR - 6.0) / 14.0)) if 6.0 < seconds / HOUR < 20.0 else 0.0
    return outside_c + SUN_C * height * min(max(outside_c / 20.0, 0.0), 1.5)


def settle(start_c: float, end_c: float, seconds: float, time_constant: float) -> float:
    """Return where a temperature is on its way from one to another."""
    return end_c + (start_c - end_c) * math.exp(-max(0.0, seconds) / time_constant)
