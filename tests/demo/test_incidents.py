"""What befalls the cars, with a car that only notes what was done to it."""

from __future__ import annotations

from typing import Any, cast

import pytest

from bench.demo.cars import Car
from bench.demo.incidents import AWAY_SECONDS, REPAIRED_SECONDS_MAX, Crash, Departure, look_at_all


class NotedCar:
    """Stands for a car's process."""

    def __init__(self) -> None:
        self.deeds: list[str] = []
        self.row: tuple[int, int] | None = None
        self.is_running = True

    def __str__(self) -> str:
        return "Amara's Ioniq 5"

    def row_in_hand(self) -> tuple[int, int] | None:
        return self.row

    def count_events(self, name: str) -> int:
        return 3 if name == "handed_back" else 0

    def __getattr__(self, name: str) -> Any:
        return lambda: self.deeds.append(name)


@pytest.fixture
def car() -> NotedCar:
    return NotedCar()


def test_a_car_drives_off_only_in_the_middle_of_a_unit_and_comes_back(car: NotedCar) -> None:
    departure = Departure(cast(Car, car))
    assert departure.look(0.05, 0.0) is None
    assert departure.look(0.2, 1.0) is None
    car.row = (32, 64)
    assert departure.look(0.05, 2.0) is None
    assert departure.look(0.2, 3.0) == "Amara's Ioniq 5 drives off in the middle of a work unit, at row 32 of 64."
    assert departure.look(0.3, 3.0 + AWAY_SECONDS / 2) is None
    sentence = departure.look(0.4, 3.0 + AWAY_SECONDS)
    assert sentence is not None
    assert "handed back 3 work units" in sentence
    assert departure.look(0.9, 99.0) is None
    assert car.deeds == ["drive_off", "come_back"]


def test_late_in_the_work_nobody_waits_for_the_middle_of_a_unit(car: NotedCar) -> None:
    assert Departure(cast(Car, car)).look(0.7, 0.0) == "Amara's Ioniq 5 drives off with work in hand."


def test_a_killed_car_starts_again_once_its_leases_have_run_out(car: NotedCar) -> None:
    expired = 0
    crash = Crash(cast(Car, car), count_expired=lambda _: expired)
    car.row = (16, 64)
    assert crash.look(0.3, 10.0) is not None
    assert crash.look(0.4, 15.0) is None
    expired = 2
    sentence = crash.look(0.5, 16.0)
    assert sentence is not None
    assert "2 leases have run out" in sentence
    assert car.deeds == ["kill", "start"]


def test_a_killed_car_is_repaired_even_where_no_lease_runs_out(car: NotedCar) -> None:
    crash = Crash(cast(Car, car), count_expired=lambda _: 0)
    car.row = (16, 64)
    sentences = [
        *look_at_all([crash], 0.3, 0.0),
        *look_at_all([crash], 0.4, 1.0),
        *look_at_all([crash], 0.5, REPAIRED_SECONDS_MAX),
    ]
    assert len(sentences) == 2
    assert crash.is_over
