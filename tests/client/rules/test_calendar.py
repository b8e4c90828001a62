"""The wall clock across clock changes, against Python's own conversion of each instant."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetclient.rules.calendar import (
    find_date,
    find_next,
    get_local_second,
    get_value,
    next_midnight,
    next_month,
    next_time,
    say_time,
)
from fleetclient.rules.rules import read_rules
from fleetclient.rules.week import ALWAYS, NEVER, NIGHT, Week, find
from tests.client.rules import strategies as some


def at(zone: str, text: str, *, fold: int = 0) -> float:
    """Return the instant of a local time; fold 1 is the second of two."""
    return dt.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def hours(**days: list[str]) -> Week:
    return read_rules({"time_zone": "UTC", "windows": days}).windows


def wall_value(week: Week, zone: str, unix: float) -> float:
    local = dt.datetime.fromtimestamp(unix, ZoneInfo(zone))
    minute = local.hour * 60 + local.minute + local.second / 60 + local.microsecond / 6e7
    return find(week[local.weekday()], minute, 0.0)


def _is_open(value: float) -> bool:
    return value > 0


def _is_shut(value: float) -> bool:
    return value <= 0


def list_changes(week: Week, zone: str, start: float, end: float) -> list[float]:
    """Return the instants at which the table opens or closes in (start, end)."""
    changes: list[float] = []
    instant = start
    while True:
        is_open = get_value(week, zone, instant) > 0
        found = find_next(week, zone, instant, _is_shut if is_open else _is_open)
        if found is None or found >= end:
            return changes
        changes.append(found)
        instant = found


@settings(max_examples=400)
@given(week=some.weeks(), zone=st.sampled_from(some.ZONES), now=some.moments())
def test_a_table_is_open_when_a_clock_on_the_wall_says_so(week, zone, now):
    assert get_value(week, zone, now.unix) == wall_value(week, zone, now.unix)


@settings(max_examples=40)
@given(week=some.weeks(), zone=st.sampled_from(some.ZONES), moment=st.sampled_from(some.MOMENTS))
def test_every_change_is_found_and_nothing_changes_in_between(week, zone, moment):
    start = (moment - 86_400) // 60 * 60
    end = start + 2 * 86_400
    changes = list_changes(week, zone, start, end)
    # Every change of these tables and zones falls on a whole minute of UTC.
    by_minute = [wall_value(week, zone, unix) for unix in range(start, end, 60)]
    seen = [start + 60 * index for index in range(1, len(by_minute)) if by_minute[index] != by_minute[index - 1]]
    assert changes == seen


@settings(max_examples=300)
@given(zone=st.sampled_from(some.ZONES), now=some.moments(), times=st.tuples(*[some.times] * 7))
def test_the_next_time_is_the_first_instant_that_shows_it_or_later(zone, now, times):
    found = next_time(times, zone, now.unix)
    if not any(times):
        assert found is None
        return
    assert found is not None
    assert found > now.unix
    local = dt.datetime.fromtimestamp(found, ZoneInfo(zone))
    before = dt.datetime.fromtimestamp(found - 1, ZoneInfo(zone)).replace(tzinfo=None)
    day = local.date()
    wanted = [dt.datetime.combine(day, dt.time(minute // 60, minute % 60)) for minute in times[day.weekday()]]
    # At midnight a gap may swallow the last minutes of the day before.
    yesterday = day - dt.timedelta(days=1)
    wanted += [
        dt.datetime.combine(yesterday, dt.time(minute // 60, minute % 60)) for minute in times[yesterday.weekday()]
    ]
    assert any(before < time <= local.replace(tzinfo=None) for time in wanted)


def test_a_spring_night_in_berlin_has_one_hour_less():
    zone, week = "Europe/Berlin", NIGHT
    start = at(zone, "2025-03-29 22:00")
    assert list_changes(week, zone, start, start + 86_400) == [
        at(zone, "2025-03-30 06:00"),
        at(zone, "2025-03-30 22:00"),
    ]
    assert at(zone, "2025-03-30 06:00") - start == 7 * 3600


def test_an_autumn_night_in_berlin_has_one_hour_more():
    zone = "Europe/Berlin"
    start = at(zone, "2025-10-25 22:00")
    assert list_changes(NIGHT, zone, start, start + 10 * 3600) == [start + 9 * 3600]


def test_a_window_in_the_skipped_hour_does_not_open_that_day():
    zone, week = "America/New_York", hours(sun=["02:15-02:45"])
    start = at(zone, "2025-03-02 00:00")
    assert list_changes(week, zone, start, start + 16 * 86_400) == [
        at(zone, "2025-03-02 02:15"), at(zone, "2025-03-02 02:45"),
        at(zone, "2025-03-16 02:15"), at(zone, "2025-03-16 02:45"),
    ]  # fmt: skip
    # It is found from the morning of the day it skips, a fortnight ahead.
    is_open = find_next(week, zone, at(zone, "2025-03-02 03:00"), lambda value: value > 0)
    assert is_open == at(zone, "2025-03-16 02:15")


def test_a_window_that_begins_in_the_skipped_hour_opens_at_the_jump():
    zone, week = "Europe/Berlin", hours(sun=["02:30-04:00"])
    start = at(zone, "2025-03-30 00:00")
    jump = at(zone, "2025-03-30 03:00")
    assert list_changes(week, zone, start, start + 86_400) == [jump, jump + 3600]


def test_a_window_in_the_doubled_hour_opens_twice():
    zone, week = "America/New_York", hours(sun=["01:15-01:45"])
    start = at(zone, "2025-11-02 00:00")
    first, second = at(zone, "2025-11-02 01:15"), at(zone, "2025-11-02 01:15", fold=1)
    assert second - first == 3600
    assert list_changes(week, zone, start, start + 86_400) == [first, first + 1800, second, second + 1800]


def test_lord_howe_moves_its_clock_by_half_an_hour():
    zone, week = "Australia/Lord_Howe", hours(daily=["01:00-03:00"])
    autumn, spring = at(zone, "2025-04-06 01:00"), at(zone, "2025-10-05 01:00")
    assert list_changes(week, zone, autumn - 60, autumn + 43_200) == [autumn, autumn + 9000]
    assert list_changes(week, zone, spring - 60, spring + 43_200) == [spring, spring + 5400]


def test_casablanca_is_an_hour_behind_in_ramadan_only():
    zone = "Africa/Casablanca"
    noons = [at("UTC", f"2025-{day} 12:00") for day in ("02-01", "03-10", "05-01")]
    offsets = [get_local_second(zone, noon) - noon for noon in noons]
    assert offsets == [3600, 0, 3600]


def test_ho_chi_minh_city_has_the_same_night_all_year():
    zone = "Asia/Ho_Chi_Minh"
    for month in range(1, 13):
        start = at("UTC", f"2025-{month:02d}-10 15:00")
        assert list_changes(NIGHT, zone, start - 1, start + 8 * 3600 + 1) == [start, start + 8 * 3600]


@pytest.mark.parametrize(
    ("zone", "day", "length_hours"),
    [
        ("Europe/Berlin", "2025-03-30", 23),
        ("Europe/Berlin", "2025-10-26", 25),
        ("Asia/Ho_Chi_Minh", "2025-10-26", 24),
        ("Australia/Lord_Howe", "2025-04-06", 24.5),
        ("Australia/Lord_Howe", "2025-10-05", 23.5),
        ("Africa/Cairo", "2025-04-25", 23),  # has no midnight: it begins at 01:00
        ("America/Santiago", "2025-09-07", 23),
    ],
)
def test_a_day_has_the_hours_it_has(zone, day, length_hours):
    begins = find_date(zone, day)
    assert next_midnight(zone, begins) - begins == length_hours * 3600
    assert next_midnight(zone, begins - 1) == begins


def test_a_day_that_is_left_and_entered_again_ends_when_the_wall_leaves_it_for_good():
    # Cairo turns 2025-10-31 00:00 back to 2025-10-30 23:00, so the 30th has 25 hours and the 31st begins once.
    zone = "Africa/Cairo"
    assert find_date(zone, "2025-10-31") - find_date(zone, "2025-10-30") == 25 * 3600


def test_a_month_ends_where_the_next_one_begins():
    zone = "Asia/Ho_Chi_Minh"
    assert next_month(zone, at(zone, "2026-01-31 23:59")) == at(zone, "2026-02-01")
    assert next_month(zone, at(zone, "2026-02-01")) == at(zone, "2026-03-01")
    assert next_month("UTC", at(zone, "2026-02-01")) == at("UTC", "2026-02-01")


def test_a_ready_by_time_that_is_skipped_is_met_at_the_jump_and_a_doubled_one_at_its_first():
    zone = "Europe/Berlin"
    times = ((150,),) * 7  # 02:30
    assert next_time(times, zone, at(zone, "2025-03-30 00:00")) == at(zone, "2025-03-30 03:00")
    assert next_time(times, zone, at(zone, "2025-10-26 00:00")) == at(zone, "2025-10-26 02:30", fold=0)
    assert next_time(times, zone, at(zone, "2025-10-26 02:30")) == at(zone, "2025-10-27 02:30")


@pytest.mark.parametrize(("week", "is_open"), [(ALWAYS, True), (NEVER, False)])
def test_hours_without_edges_never_change(week, is_open):
    assert (get_value(week, "UTC", some.MOMENTS[0]) > 0) is is_open
    assert find_next(week, "UTC", some.MOMENTS[0], lambda value: (value > 0) is not is_open) is None


def test_a_time_is_said_on_the_cars_wall_clock():
    zone, now = "Asia/Ho_Chi_Minh", at("Asia/Ho_Chi_Minh", "2026-09-21 10:00")
    assert say_time(zone, now, at(zone, "2026-09-22 06:30")) == "Tue 06:30"
    assert say_time(zone, now, at(zone, "2026-10-01 00:00")) == "2026-10-01 00:00"
    assert say_time(zone, now, float("inf")) == "an unknown time"
