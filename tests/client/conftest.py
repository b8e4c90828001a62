"""Fixtures of the client's tests: a fake fleet, and cars that are ended with their test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.client.fake_fleet import FakeFleet
from tests.client.support import Car, CarProcess, make_car


@pytest.fixture
def fleet() -> Iterator[FakeFleet]:
    server = FakeFleet().start()
    yield server
    server.stop()


@pytest.fixture
def car(tmp_path: Path, fleet: FakeFleet) -> Iterator[Callable[..., Car]]:
    """Make cars on this test's folder; a second one finds what the first one left."""
    made: list[Car] = []

    def make(**options: object) -> Car:
        made.append(make_car(tmp_path, fleet, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def car_process(tmp_path: Path, fleet: FakeFleet) -> Iterator[Callable[..., CarProcess]]:
    made: list[CarProcess] = []

    def make(extra: str = "") -> CarProcess:
        made.append(CarProcess(tmp_path, fleet, extra=extra))
        return made[-1]

    yield make
    for each in made:
        each.stop()
