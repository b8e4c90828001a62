"""The stop switch reaches work that is running: a real gate, a real watcher and guard, a real runner."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fleetclient.agent.facts import Facts
from fleetclient.agent.guard import Guard
from fleetclient.agent.watch import LOOK_SECONDS_MAX, Watcher
from fleetclient.clock import boot_seconds
from fleetclient.control import ControlState
from fleetclient.rules.rules import Rules
from fleetclient.vehicle.source import VehicleState
from tests.client.agent.test_watch import FakeSource
from tests.client.fake_fleet import FakeFleet
from tests.client.support import Car, add_slow_units, is_running, process_state, slow_model, wait_until
from tests.client.trust.scene import CarGate, Fleet, utc_now

MakeCar = Callable[..., Car]


class Bound:
    """The loop's source, bound to its watcher once there is a brake for it."""

    watcher: Watcher

    def read(self, now: float) -> VehicleState:
        return self.watcher.read(now)


class Working:
    """A car in the middle of a unit whose model the fleet has signed. Its wall clock can be moved on."""

    def __init__(self, folder: Path, fleet: FakeFleet, trusted_fleet: Fleet, car: MakeCar) -> None:
        self.model = trusted_fleet.admit(slow_model())
        self.shift_seconds = 0.0
        self.trust = CarGate(folder, trusted_fleet, wall=lambda: time.time() + self.shift_seconds, refresh_seconds=1.0)
        self.fleet, source = fleet, Bound()
        add_slow_units(fleet, 1, rows=4000)
        self.car = car(gate=self.trust.gate, source=source, simulation={"speed": 0.05})
        parts = self.car.parts
        source.watcher = self.watcher = Watcher(
            source=FakeSource(),
            rules=Rules,
            facts=Facts(usage=self.car.usage, control=ControlState(folder)).read,
            brake=parts.brake,
            log=parts.log,
            stop_reason=self.trust.gate.stop_reason,
            script=lambda _now: None,
            unix=time.time,
        )
        self.trust.gate.refresh()
        self.guard = Guard(self.watcher, brake=parts.brake, wake_loop=lambda: None)
        self.guard.start()
        self.car.step_until(lambda: parts.workshop.rows_done > 0)
        assert parts.workshop.runner is not None
        self.pid = parts.workshop.runner.pid

    def hand_backs(self) -> list[tuple[Any, Any]]:
        self.car.step_until(lambda: bool(self.fleet.hand_backs))
        return [(item["kind"], item["reason"]) for item in self.fleet.hand_backs]


@pytest.fixture
def working(tmp_path: Path, fleet: FakeFleet, trusted_fleet: Fleet, car: MakeCar) -> Iterator[Working]:
    made = Working(tmp_path, fleet, trusted_fleet, car)
    yield made
    made.guard.stop()


def test_when_the_fleets_word_expires_the_guard_freezes_the_runner_and_the_loop_hands_the_unit_back(
    working: Working,
) -> None:
    assert working.watcher.due_at() - boot_seconds() <= LOOK_SECONDS_MAX
    working.shift_seconds = 13 * 3600.0
    wait_until(lambda: process_state(working.pid) == "T")  # the loop has not made a step
    assert working.hand_backs() == [("returned", "suspended_ops")]
    assert not is_running(working.pid)


def test_a_stop_that_the_fleet_has_signed_ends_the_work_at_the_next_look(
    working: Working, trusted_fleet: Fleet
) -> None:
    trusted_fleet.repository.stop(now=utc_now().replace(year=2020))  # the last word has expired already
    trusted_fleet.show()
    assert working.hand_backs() == [("returned", "suspended_ops")]
    assert not is_running(working.pid)
    assert working.trust.error == "metadata_expired"
    assert working.fleet.count("stored") == 0


def test_a_model_that_is_revoked_while_its_unit_runs_is_ended_at_the_next_look(
    working: Working, trusted_fleet: Fleet
) -> None:
    trusted_fleet.revoke(*working.model)
    assert working.hand_backs()[0] == ("error", "not_admitted")
    assert not is_running(working.pid)
    assert working.car.parts.workshop.runner is None
    assert working.trust.gate.stop_reason() == ""
