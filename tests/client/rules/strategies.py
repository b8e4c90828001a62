"""Rules, signals and moments for property tests: mostly sensible, so that the car may often work, some absurd."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from fleetclient.rules.decision import LocalFacts, Memory, Now
from fleetclient.rules.rules import Rules
from fleetclient.rules.week import ALWAYS, NEVER, NIGHT, WEEKEND, Week, combine, lay, unite
from fleetclient.vehicle.signals import BOOLEAN_SIGNALS, SIGNALS, Reading, Signals

ZONES = (
    "UTC", "Europe/Berlin", "America/New_York", "Asia/Ho_Chi_Minh", "Australia/Lord_Howe", "Africa/Casablanca",
    "Asia/Kathmandu", "Pacific/Apia", "America/Santiago", "Africa/Cairo", "Pacific/Kiritimati", "America/St_Johns",
)  # fmt: skip
# Clock changes of those zones, and a few days that have none.
MOMENTS = (
    1_743_296_400,  # Berlin springs forward, 2025-03-30 02:00
    1_761_440_400,  # Berlin falls back, 2025-10-26 03:00
    1_741_503_600,  # New York springs forward, 2025-03-09 02:00
    1_762_063_200,  # New York falls back, 2025-11-02 02:00
    1_743_865_200,  # Lord Howe falls back by half an hour, 2025-04-06 02:00
    1_759_591_800,  # Lord Howe springs forward by half an hour, 2025-10-05 02:00
    1_740_276_000,  # Casablanca falls back for Ramadan, 2025-02-23 03:00
    1_743_904_800,  # Casablanca springs forward after it, 2025-04-06 02:00
    1_745_532_000,  # Cairo springs forward at midnight, 2025-04-25 00:00
    1_761_858_000,  # Cairo falls back over midnight, 2025-10-31 00:00
    1_757_217_600,  # Santiago springs forward at midnight, 2025-09-07 00:00
    1_767_225_600,  # 2026-01-01
    1_790_000_000,  # 2026-09-21
)
ELAPSED = 1_000_000.0
GOOD: dict[str, Any] = {
    "parked": True, "plugged_in": True, "charging": False, "soc_pct": 80.0, "charge_limit_pct": 80.0, "at_home": True,
    "on_home_wifi": True, "user_present": False, "cabin_temp_c": 20.0, "pack_temp_c": 20.0, "sentry_on": False,
    "updating": False,
}  # fmt: skip

minutes = st.one_of(st.sampled_from([0, 60, 90, 120, 135, 150, 180, 360, 420, 1320, 1410, 1440]), st.integers(0, 1440))
days = st.sets(st.integers(0, 6), min_size=1)
any_float = st.floats(width=64)


def few(names: Sequence[str]) -> st.SearchStrategy[set[str]]:
    """Often none of the names, else one to three."""
    return st.one_of(st.just(set()), st.just(set()), st.sets(st.sampled_from(names), min_size=1, max_size=3))


@st.composite
def weeks(draw: st.DrawFn) -> Week:
    week: Week = NEVER
    for _ in range(draw(st.integers(1, 3))):
        week = unite(week, lay(draw(days), draw(minutes), draw(minutes), 1.0))
    return week


@st.composite
def tariffs(draw: st.DrawFn) -> dict[str, Any]:
    base = draw(st.sampled_from([0.1, 0.3, 3000.0, -0.05]))
    table: Week = NEVER
    for _ in range(draw(st.integers(0, 3))):
        laid = lay(draw(days), draw(minutes), draw(minutes), draw(st.sampled_from([0.05, 0.2, 0.5, -1.0])))
        table = combine(table, laid, max, defaults=(-math.inf, -math.inf))
    table = combine(table, NEVER, lambda price, _: price, defaults=(base, base))
    highest = draw(st.sampled_from([None, 0.0, 0.15, 0.25, 5000.0]))
    return {"price_per_kwh": base, "price_table": table, "price_max_per_kwh": highest}


times = st.lists(st.integers(0, 1439), max_size=2).map(lambda found: tuple(sorted(set(found))))
_OVERRIDES: dict[str, st.SearchStrategy[Any]] = {
    "charge_limit_pct": st.floats(50, 100),
    "battery_kwh": st.sampled_from([None, 40.0, 75.0]),
    "charger_kw": st.sampled_from([None, 0.4, 2.3, 7.4, 11.0]),
    "ready_margin_hours": st.floats(0, 24),
    "ready_by": st.one_of(st.just(((),) * 7), st.tuples(*[times] * 7)),
    "windows": st.one_of(st.sampled_from([ALWAYS, NIGHT, WEEKEND, NEVER]), weeks()),
    "quiet_hours": st.one_of(st.sampled_from([NEVER, NIGHT]), weeks()),
    "currency": st.sampled_from(["", "EUR", "VND"]),
    "min_net_per_hour": st.sampled_from([None, -1.0, 0.0, 0.5]),
    "work_when_net_unknown": st.booleans(),
    "cabin_max_c": st.sampled_from([None, 20.0, 30.0, 45.0]),
    "device_max_c": st.sampled_from([None, 50.0, 80.0]),
    "pack_max_c": st.sampled_from([None, 20.0, 45.0]),
    "temp_min_c": st.sampled_from([None, -10.0, 0.0, 18.0]),
    "temp_hysteresis_c": st.sampled_from([0.0, 3.0, 5.0]),
    "work_when_cabin_unknown": st.booleans(),
    "work_when_device_temp_unknown": st.booleans(),
    "only_home_network": st.booleans(),
    "work_while_charging_elsewhere": st.booleans(),
    "stop_on_sentry": st.booleans(),
    "hours_day_max": st.sampled_from([None, 0.0, 0.01, 10.0]),
    "data_day_gb_max": st.sampled_from([None, 0.0, 1.0]),
    "data_month_gb_max": st.sampled_from([None, 0.0, 5.0]),
    "start_after_seconds": st.sampled_from([0.0, 0.5, 60.0, 3600.0]),
    "presence_stale_seconds": st.sampled_from([1.0, 300.0, 3600.0]),
    "other_stale_seconds": st.sampled_from([1.0, 900.0, 3600.0]),
    "away_mode": st.sampled_from(["off", "vacation", "valet", "service"]),
    "away_until": st.sampled_from(["forever", "2025-03-30", "2025-04-25", "2026-09-21", "2026-09-22", "2099-12-31"]),
}
# Left alone in most examples, or nothing would ever be allowed.
_RARE = frozenset({"away_mode", "hours_day_max", "data_day_gb_max", "data_month_gb_max"})


@st.composite
def rules(draw: st.DrawFn, *, zone: str | None = None) -> Rules:
    """Draw rules in which a few settings differ from the defaults, in a zone or any."""
    names = draw(st.sets(st.sampled_from(sorted(set(_OVERRIDES) - _RARE)), max_size=6))
    names |= draw(few(sorted(_RARE)))
    values = {name: draw(_OVERRIDES[name]) for name in sorted(names)}
    if draw(st.integers(0, 2)) == 0:
        values |= draw(tariffs())
    start = draw(st.sampled_from([0.0, 50.0, 60.0, 70.0, 79.5, 81.0]))
    values |= {"start_soc_pct": start, "stop_soc_pct": draw(st.sampled_from([start, max(start - 5, 0.0), 0.0]))}
    return Rules(time_zone=draw(st.sampled_from(ZONES)) if zone is None else zone, **values)


def values_of(name: str) -> st.SearchStrategy[Any]:
    usual = st.booleans() if name in BOOLEAN_SIGNALS else st.sampled_from([-5.0, 1.0, 20.0, 43.0, 66.0, 79.5, 95.0])
    return st.one_of(st.just(GOOD[name]), usual, st.none(), st.sampled_from([math.nan, math.inf, 250.0, 1.0, True]))


ages = st.one_of(st.floats(0, 30), st.floats(-20, 4000), st.sampled_from([0.0, 299.0, 300.0, 899.5, 900.0, -5.0]))
odd_moments = st.one_of(any_float, st.sampled_from([math.inf, -math.inf, math.nan, 1e300]))


@st.composite
def signals(draw: st.DrawFn, *, odd: bool = False) -> Signals:
    """Draw a good snapshot in which some signals are different, old or missing; `odd`: seen at absurd times."""
    readings = {name: Reading(GOOD[name], ELAPSED - draw(st.floats(0, 20)), "test") for name in SIGNALS}
    for name in draw(few(SIGNALS)):
        if draw(st.booleans()):
            del readings[name]
            continue
        seen = draw(odd_moments) if odd and draw(st.booleans()) else ELAPSED - draw(ages)
        readings[name] = Reading(draw(values_of(name)), seen, "test")
    return Signals(readings)


@st.composite
def moments(draw: st.DrawFn) -> Now:
    near = st.one_of(st.floats(-7200, 7200), st.floats(-9 * 86_400, 9 * 86_400), st.sampled_from([-1e-3, 0.0, 3600.0]))
    return Now(unix=draw(st.sampled_from(MOMENTS)) + draw(near), elapsed=ELAPSED)


@st.composite
def facts(draw: st.DrawFn, *, unix: float) -> LocalFacts:
    choices: dict[str, list[Any]] = {
        "device_temp_c": [None, 30.0, 78.5, 81.0, math.nan],
        "bytes_today": [10**9, 5 * 10**9],
        "bytes_this_month": [5 * 10**9, 30 * 10**9],
        "worked_seconds_today": [30.0, 35_990.0, 36_000.0, math.nan],
        "paused_until_unix": [unix - 5, unix + 100.5, math.inf, math.nan, 1e15],
        "is_finishing": [True],
        "on_allowed_network": [True, False],
        "network_name": ["net-1f3a"],
        "unconfined_reason": ["no seccomp"],
        "net_per_hour": [0.1, -0.1, math.nan],
    }
    names = draw(few(sorted(choices)))
    return LocalFacts(**{name: draw(st.sampled_from(choices[name])) for name in sorted(names)})


@st.composite
def memories(draw: st.DrawFn) -> Memory:
    usual = st.just(ELAPSED - 10_000)
    since = st.one_of(usual, usual, st.sampled_from([None, ELAPSED - 60, ELAPSED - 59.7, ELAPSED - 10, ELAPSED + 50]))
    mark = st.sampled_from([None, None, 60.0, 69.5, 72.0, 81.0])
    return Memory(
        was_allowed=draw(st.booleans()), open_since_elapsed=draw(since), charge_mark_pct=draw(mark),
        has_fallen=draw(st.sampled_from([False, False, False, True])),
    )  # fmt: skip
