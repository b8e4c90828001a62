"""A car that says "plugged in" while its battery falls is not fed: work must not take the charge down to the floor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from fleetclient.rules.decision import Memory, Now
from fleetclient.rules.eligibility import evaluate
from fleetclient.rules.rules import Rules
from fleetclient.vehicle.signals import Reading, Signals
from tests.client.rules.strategies import GOOD

RULES = Rules(start_after_seconds=0.0, stop_soc_pct=20.0, start_soc_pct=20.0)


def verdicts(*news: Mapping[str, bool | float | None]) -> list[bool]:
    """Return whether the car may work after each piece of news, ten minutes apart."""
    memory, said = Memory(), []
    for step, changes in enumerate(news):
        elapsed = 1000.0 + 600.0 * step
        heard = {name: Reading(value, elapsed, "test") for name, value in {**GOOD, **changes}.items()}
        now = Now(unix=1_790_000_000.0 + elapsed, elapsed=elapsed)
        decision = evaluate(Signals(heard), RULES, now, memory=memory)
        memory = replace(decision.memory)
        said.append(decision.allow)
    return said


def charges(*percents: float) -> list[bool]:
    return verdicts(*({"soc_pct": percent} for percent in percents))


def test_a_battery_that_falls_by_2_percent_in_small_steps_stops_the_work():
    assert charges(80.0, 79.5, 79.0, 78.5, 78.0, 77.0) == [True, True, True, True, False, False]


def test_the_fall_counts_from_the_highest_charge_since_the_cable_went_in():
    assert charges(70.0, 74.0, 73.0, 72.0) == [True, True, True, False]


def test_a_battery_that_hovers_as_the_car_tops_it_up_is_no_dead_socket():
    assert all(charges(80.0, 79.0, 80.0, 79.0, 78.5, 80.0, 79.0))


def test_work_goes_on_when_the_charge_rises_again_by_1_percent_and_not_before():
    assert charges(80.0, 78.0, 70.0, 70.5, 71.0, 70.0) == [True, False, False, False, True, True]


def test_a_trip_between_two_sockets_is_no_fall():
    assert verdicts({"soc_pct": 80.0}, {"soc_pct": 75.0, "plugged_in": False}, {"soc_pct": 60.0}) == [True, False, True]


@pytest.mark.parametrize("silent", ["plugged_in", "soc_pct"])
def test_silence_does_not_make_a_dead_socket_a_good_one(silent):
    fallen: list[dict[str, bool | float | None]] = [
        {"soc_pct": 80.0},
        {"soc_pct": 77.0},
        {"soc_pct": 77.0, silent: None},
        {"soc_pct": 77.0},
    ]
    assert verdicts(*fallen) == [True, False, False, False]
