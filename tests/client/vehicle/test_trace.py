"""Simulated lives: deterministic, physically possible, and like those of people."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetclient.clock import boot_seconds
from fleetclient.vehicle.mobility import SimulatedSource
from fleetclient.vehicle.options import SimulationOptions
from fleetclient.vehicle.outings import LATEST_ARRIVAL, plan_outings
from fleetclient.vehicle.signals import BOOLEAN_SIGNALS, SIGNALS, SignalValue
from fleetclient.vehicle.survey import BUILT_IN, load_survey, read_survey
from fleetclient.vehicle.trace import Trace, TraceStep, iterate_trace
from tests.client.vehicle.hearing import Bell, value, wait_until

DAY = 86_400.0
START = datetime(2026, 1, 5)  # noqa: DTZ001 - a car's local time; a Monday

lives = st.builds(
    SimulationOptions,
    seed=st.integers(1, 2**53),
    battery_kwh=st.floats(30.0, 120.0),
    charger_kw=st.floats(2.0, 22.0),
    charge_limit_pct=st.floats(50.0, 100.0),
    plug_in_share=st.floats(0.0, 1.0),
    night_charging_hour=st.integers(-1, 23),
)


def told(step: TraceStep) -> dict[str, SignalValue]:
    return {name: reading.value for name, reading in step.signals if reading is not None and reading.value is not None}


def look(
    options: SimulationOptions, *, days: float, step_seconds: float
) -> list[tuple[datetime, dict[str, SignalValue]]]:
    steps = iterate_trace(options, start=START, days=days, step_seconds=step_seconds, survey=BUILT_IN)
    return [(step.at, told(step)) for step in steps]


@given(options=lives)
@settings(max_examples=25, deadline=None)
def test_no_life_breaks_the_laws_of_cars(options: SimulationOptions) -> None:
    steps = look(options, days=21, step_seconds=600.0)
    assert len(steps) == 21 * 144
    for (_, before), (at, now) in pairwise(steps):
        assert set(now) == set(SIGNALS), at
        assert all(type(now[name]) is (bool if name in BOOLEAN_SIGNALS else float) for name in SIGNALS)
        assert not (now["plugged_in"] and not now["parked"]), "nobody drives on a cable"
        assert now["at_home"] or not now["plugged_in"], "there is one cable, at home"
        assert now["plugged_in"] or not now["charging"]
        assert now["parked"] or now["user_present"], "no car drives alone"
        assert 0.0 <= now["soc_pct"] <= 100.0
        assert -60.0 < now["cabin_temp_c"] < 80.0
        assert -60.0 < now["pack_temp_c"] < 80.0
        if before["plugged_in"] and now["plugged_in"] and before["parked"] and now["parked"]:
            assert now["soc_pct"] >= before["soc_pct"] - 1e-9, "a car on a cable loses nothing"


@given(options=lives, times=st.lists(st.floats(0.0, 30 * DAY), min_size=2, max_size=8))
@settings(max_examples=25, deadline=None)
def test_a_life_is_the_same_however_one_looks_at_it(options: SimulationOptions, times: list[float]) -> None:
    forth, back = (Trace(options, date(2026, 1, 5), survey=BUILT_IN) for _ in range(2))
    assert [forth.signals_at(at) for at in times] == list(reversed([back.signals_at(at) for at in reversed(times)]))


@given(options=lives, at=st.floats(0.0, 30 * DAY), part=st.floats(0.0, 1.0, exclude_max=True))
@settings(max_examples=100, deadline=None)
def test_nothing_happens_before_the_next_change(options: SimulationOptions, at: float, part: float) -> None:
    trace = Trace(options, date(2026, 1, 5), survey=BUILT_IN)
    change = trace.next_change(at)
    assert at < change <= at + 8 * DAY
    between = at + (change - at) * part
    before, after = trace.signals_at(at), trace.signals_at(between)
    assert [before[name] for name in BOOLEAN_SIGNALS] == [after[name] for name in BOOLEAN_SIGNALS]


@given(seed=st.integers(1, 2**53), ordinal=st.integers(date(2026, 1, 5).toordinal(), date(2030, 1, 1).toordinal()))
def test_outings_of_a_day_and_the_next_follow_each_other(seed: int, ordinal: int) -> None:
    today, tomorrow = date.fromordinal(ordinal), date.fromordinal(ordinal + 1)
    both = plan_outings(seed, today, BUILT_IN)
    both_end = [each.arrives_at for each in both]
    starts = [each.departs_at for each in both] + [
        DAY + each.departs_at for each in plan_outings(seed, tomorrow, BUILT_IN)
    ]
    assert all(end <= DAY + LATEST_ARRIVAL for end in both_end)
    assert all(end < start for end, start in zip(both_end, starts[1:], strict=False))
    for each in both:
        assert each.departs_at < each.stops_at < each.leaves_at < each.arrives_at


def test_charge_is_driven_down_on_the_road_and_filled_to_the_limit_at_night() -> None:
    options = SimulationOptions(seed=7, battery_kwh=120.0, charger_kw=22.0)  # never so low that it cannot wait
    steps = look(options, days=28, step_seconds=300.0)
    falls = [now for (_, before), (_, now) in pairwise(steps) if now["soc_pct"] < before["soc_pct"] - 1e-9]
    rises = [at for (_, before), (at, now) in pairwise(steps) if now["soc_pct"] > before["soc_pct"] + 1e-9]
    assert falls
    assert rises
    assert max(now["soc_pct"] for _, now in steps) == pytest.approx(80.0)
    charging_hours = {at.hour for at, now in steps if now["charging"]}
    assert charging_hours <= {23, *range(8)}


def test_a_weekday_is_a_commute_and_a_night_at_home() -> None:
    at_home: dict[int, int] = dict.fromkeys(range(24), 0)
    for seed in range(1, 21):
        for at, now in look(SimulationOptions(seed=seed), days=5, step_seconds=3600.0):
            at_home[at.hour] += now["at_home"] is True
    assert at_home[3] == 100
    assert at_home[12] < 35 < at_home[21]


def test_people_go_away_for_some_weekends_and_come_back() -> None:
    nights_away = sum(
        now["at_home"] is False
        for seed in range(1, 6)
        for at, now in look(SimulationOptions(seed=seed), days=182, step_seconds=DAY)
        if at.weekday() == 6
    )
    assert 5 <= nights_away <= 45  # of 130 nights to a Sunday


def test_summer_is_warmer_than_winter_and_a_car_is_warmed_before_a_trip() -> None:
    options = SimulationOptions(seed=4)
    packs = {
        month: [
            float(told(step)["pack_temp_c"])
            for step in iterate_trace(
                options,
                start=START.replace(month=month),
                days=28,
                step_seconds=7200.0,
                survey=BUILT_IN,
            )
        ]
        for month in (1, 7)
    }
    assert sum(packs[7]) / len(packs[7]) > sum(packs[1]) / len(packs[1]) + 5.0
    steps = look(options, days=5, step_seconds=60.0)
    departures = [
        i for i, ((_, before), (_, now)) in enumerate(pairwise(steps)) if before["at_home"] and not now["parked"]
    ]
    assert departures
    for i in departures:
        assert steps[i][1]["cabin_temp_c"] > steps[i - 30][1]["cabin_temp_c"]
        assert steps[i][1]["user_present"]
        assert not steps[i][1]["plugged_in"]


def test_another_seed_is_another_life() -> None:
    assert look(SimulationOptions(seed=1), days=7, step_seconds=3600.0) != look(
        SimulationOptions(seed=2), days=7, step_seconds=3600.0
    )


def test_steps_go_forward_in_time_and_date_their_readings() -> None:
    steps = list(iterate_trace(SimulationOptions(seed=1), start=START, days=1, step_seconds=900.0))
    assert [step.elapsed for step in steps] == [900.0 * i for i in range(96)]
    assert all(reading.observed_at == step.elapsed for step in steps for reading in step.signals.readings.values())
    assert steps[-1].at == datetime(2026, 1, 5, 23, 45)  # noqa: DTZ001


def test_the_survey_comes_from_the_installed_package_and_is_like_the_built_in_one() -> None:
    survey = load_survey()
    assert "ev2gym" in survey.origin
    assert (len(survey.arrivals), len(survey.stay_quantiles), len(survey.energy_quantiles_kwh)) == (96, 101, 101)
    for by_quarter, by_hour in (
        (survey.arrivals, BUILT_IN.arrivals),
        (survey.arrivals_weekend, BUILT_IN.arrivals_weekend),
    ):
        total = sum(by_quarter)
        hours = [100 * sum(by_quarter[4 * hour : 4 * hour + 4]) / total for hour in range(24)]
        assert hours == pytest.approx(by_hour, abs=0.06)
    assert survey.stay_hours == pytest.approx(BUILT_IN.stay_hours, abs=0.1)
    assert survey.stay_quantiles[::5] == pytest.approx(BUILT_IN.stay_quantiles, abs=0.06)
    assert survey.energy_quantiles_kwh[::5] == pytest.approx(BUILT_IN.energy_quantiles_kwh, abs=0.06)


def test_without_the_package_the_built_in_survey_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleetclient.vehicle.survey.PACKAGE", "no-such-package")
    assert load_survey.__wrapped__() is BUILT_IN


def test_a_damaged_survey_is_not_read_as_something_else(tmp_path: Path) -> None:
    with pytest.raises((OSError, ValueError)):
        read_survey(tmp_path, version="0")


def test_a_survey_decides_when_people_come_home() -> None:
    afternoon = replace(BUILT_IN, arrivals=tuple(float(hour == 15) for hour in range(24)))
    hours = set()
    for day in range(date(2026, 1, 5).toordinal(), date(2026, 1, 9).toordinal()):
        for outing in plan_outings(3, date.fromordinal(day), afternoon)[:1]:
            hours.add(int(outing.arrives_at // 3600))
    assert hours == {15}


def test_a_life_is_lived_at_its_speed_and_wakes_the_agent_at_its_changes() -> None:
    options = SimulationOptions(seed=7, speed=10_000.0)
    bell = Bell()
    source = SimulatedSource(options, began_at=boot_seconds(), start=START)
    source.start(bell.ring)
    seen: set[object] = set()
    wait_until(lambda: seen >= {True, False}, doing=lambda: seen.add(value(source, "parked")))
    source.stop()
    assert bell.count >= 2
