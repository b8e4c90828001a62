"""Cars' configurations, logs and status files, without starting a process."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from bench.demo.cars import Car
from bench.demo.cast import CARS, OWNERS, CarPlan
from fleetclient.config import load_config

ORIGIN = "http://127.0.0.1:8000"


@pytest.fixture
def car(tmp_path: Path) -> Car:
    return Car(CARS[0], folder=tmp_path, origin=ORIGIN)


def write_status(car: Car, **status: Any) -> None:
    folder = car.folder / "state"
    folder.mkdir(exist_ok=True)
    (folder / "status.json").write_text(json.dumps({"at": time.time(), **status}))


@pytest.mark.parametrize("plan", CARS, ids=lambda plan: plan.key)
def test_each_configuration_is_one_that_the_client_takes(plan: CarPlan, tmp_path: Path) -> None:
    Car(plan, folder=tmp_path, origin=ORIGIN)
    config = load_config(tmp_path / plan.key / "car.toml")
    assert (config.server, config.name) == (ORIGIN, plan.name)
    assert config.memory_bytes_reported == plan.memory_bytes
    assert config.simulation.speed == plan.speed
    assert config.simulation.fault == ("wrong" if plan.role == "cheat" else "none")
    assert config.vehicle.start_delay_seconds == plan.starts_after_seconds
    assert config.vehicle.away_file == str(tmp_path / plan.key / "away")


def test_there_are_at_least_six_cars_of_as_many_owners_with_each_role_once() -> None:
    assert len(CARS) == len(set(OWNERS)) >= 6
    assert sorted(plan.role for plan in CARS if plan.role != "honest") == ["cheat", "dies", "leaves"]
    assert len({plan.key for plan in CARS}) == len(CARS)


def test_driving_off_and_coming_back_is_a_file_that_comes_and_goes(car: Car) -> None:
    away = car.folder / "away"
    car.drive_off()
    assert away.exists()
    car.come_back()
    assert not away.exists()
    car.come_back()


def test_a_car_is_in_the_middle_of_a_unit_between_its_first_and_its_last_row(car: Car) -> None:
    assert car.row_in_hand() is None
    write_status(car, rows_done=None, rows=None)
    assert car.row_in_hand() is None
    write_status(car, rows_done=0, rows=64)
    assert car.row_in_hand() is None
    write_status(car, rows_done=64, rows=64)
    assert car.row_in_hand() is None
    write_status(car, rows_done=32, rows=64)
    assert car.row_in_hand() == (32, 64)


def test_an_old_status_says_nothing_about_now(car: Car) -> None:
    write_status(car, at=time.time() - 5, rows_done=32, rows=64)
    assert car.row_in_hand() is None


def test_events_are_counted_among_lines_for_people_and_half_a_line(car: Car) -> None:
    car.log_path.write_text(
        '{"event": "handed_back"}\nTo pair this car, open …\n{"event": "handed_back", "x": 1}\n{"event": "hand'
    )
    assert car.count_events("handed_back") == 2
    assert car.count_events("finished") == 0
