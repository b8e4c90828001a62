"""Leaving and coming back: what is kept, what goes back, with which reason, and what the runner's memory costs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from fleetclient.agent.departure import START_SECONDS_MAX
from fleetclient.agent.workshop import FROZEN_SECONDS_MAX
from fleetclient.clock import boot_seconds
from fleetclient.history import list_sessions
from fleetclient.vehicle.source import VehicleState
from tests.client.fake_fleet import FakeFleet, Refused
from tests.client.support import (
    Car,
    add_slow_units,
    add_units,
    assert_all_right,
    is_running,
    process_state,
    wait_until,
)

MakeCar = Callable[..., Car]
SLOW: dict[str, Any] = {"simulation": {"speed": 0.05}}
KEEPS: dict[str, Any] = {"vehicle": {"hand_back": False}, **SLOW}


def working_car(fleet: FakeFleet, car: MakeCar, *, units: int = 1, rows: int = 400, **options: Any) -> Car:
    add_slow_units(fleet, units, rows=rows)
    worker = car(**options)
    worker.step_until(lambda: worker.parts.workshop.rows_done > 0)
    return worker


def runner_pid(worker: Car) -> int:
    assert worker.parts.workshop.runner is not None
    return worker.parts.workshop.runner.pid


def test_a_runner_that_is_frozen_for_long_gives_its_memory_back_and_the_unit_goes_on_where_it_was(
    fleet: FakeFleet, car: MakeCar
) -> None:
    worker = working_car(fleet, car, **KEEPS)
    pid, token = runner_pid(worker), fleet.units[0].token
    now = boot_seconds()
    worker.vehicle.leave(absent_seconds=100.0)
    worker.step(now)
    wait_until(lambda: process_state(pid) == "T")
    worker.step(now + FROZEN_SECONDS_MAX - 1.0)
    assert is_running(pid)
    worker.step(now + FROZEN_SECONDS_MAX)
    assert not is_running(pid)
    rows_before = max(event["rows_done"] for event in worker.events("block_done"))
    worker.vehicle.come_back()
    wait_until(lambda: fleet.count("stored") == 1, also=lambda: worker.step(boot_seconds() + FROZEN_SECONDS_MAX))
    assert fleet.units[0].token == token
    assert fleet.hand_backs == []
    assert len(worker.events("runner_started")) == 2
    heard = [event["rows_done"] for event in worker.events("block_done")]
    assert heard == sorted(heard), "the second runner began anew"
    assert 0 < rows_before < 400
    assert_all_right(fleet)


def test_the_loop_asks_to_be_woken_when_the_frozen_runner_has_to_go(fleet: FakeFleet, car: MakeCar) -> None:
    fleet.next_sync_seconds = 1000.0
    worker = working_car(fleet, car, **KEEPS)
    now = boot_seconds()
    worker.vehicle.leave(absent_seconds=100.0)
    worker.step(now)
    assert worker.step(now + FROZEN_SECONDS_MAX - 2.0) == pytest.approx(2.0)


def test_a_car_about_to_begin_keeps_what_it_holds_whatever_the_owner_says_of_leaving(
    fleet: FakeFleet, car: MakeCar
) -> None:
    worker = working_car(fleet, car, **SLOW)
    worker.vehicle.state = VehicleState(eligible=False, reasons=("settling",), absent_seconds=60.0)
    worker.step()
    worker.step()
    assert fleet.hand_backs == []
    worker.vehicle.come_back()
    worker.step_until(lambda: fleet.count("stored") == 1)


@pytest.mark.parametrize("reasons", [("signal_stale",), ("suspended_ops", "signal_stale")])
def test_after_a_start_no_news_is_no_departure_for_a_while(
    fleet: FakeFleet, car: MakeCar, reasons: tuple[str, ...]
) -> None:
    first = working_car(fleet, car, on_stop="keep", **SLOW)
    first.agent.shut_down(boot_seconds())
    first.close()
    second = car(on_stop="keep", **SLOW)
    second.vehicle.state = VehicleState(eligible=False, reasons=reasons)
    began = boot_seconds()
    second.step(began)
    second.step(began + START_SECONDS_MAX - 5.0)
    assert second.parts.journal.list_units()
    second.step(began + START_SECONDS_MAX + 5.0)
    wait_until(lambda: len(fleet.hand_backs) == 1, also=lambda: second.step(began + START_SECONDS_MAX + 10.0))
    assert fleet.hand_backs[0]["reason"] == reasons[0]


def test_once_the_car_was_heard_silence_is_a_departure(fleet: FakeFleet, car: MakeCar) -> None:
    worker = working_car(fleet, car, **SLOW)
    worker.vehicle.leave("signal_stale")
    worker.step_until(lambda: len(fleet.hand_backs) == 1)
    assert (fleet.hand_backs[0]["kind"], fleet.hand_backs[0]["reason"]) == ("returned", "signal_stale")


def test_finishing_ends_what_is_held_and_asks_for_no_more(fleet: FakeFleet, car: MakeCar) -> None:
    worker = working_car(fleet, car, units=12, rows=8)
    held = {unit.token for unit in worker.parts.journal.list_units()}
    worker.vehicle.state = VehicleState(eligible=True, is_finishing=True)
    worker.step_until(lambda: not worker.parts.journal.list_units())
    stored = {unit.token for unit in fleet.units if unit.state == "stored"}
    assert stored >= held
    syncs = len(fleet.syncs)
    worker.step_until(lambda: len(fleet.syncs) >= syncs + 3)
    assert all(sync["capacity"]["replicas"] == 0 for sync in fleet.syncs[syncs:])
    assert fleet.count("waiting") > 0
    assert fleet.hand_backs == []


def test_the_history_says_when_the_car_worked_and_why_it_stopped(fleet: FakeFleet, car: MakeCar) -> None:
    add_units(fleet, 3)
    worker = car()
    worker.step_until(lambda: worker.agent.completed_count == 3)
    worker.vehicle.leave("soc_low")
    worker.step()
    (session,) = list_sessions(worker.parts.state.history)
    assert (session.reason, session.units, session.rows) == ("soc_low", 3, 30)


def test_the_last_message_is_kept_in_clear_and_without_the_outputs(fleet: FakeFleet, car: MakeCar) -> None:
    add_units(fleet, 1)
    worker = car()
    worker.step_until(lambda: any(sync["commitments"] for sync in fleet.syncs))
    kept = json.loads(worker.parts.state.last_sync.read_bytes())
    assert kept["message"] == fleet.syncs[-1]
    assert kept["attachment_bytes"] == fleet.syncs[-1]["commitments"][0]["bytes"]


def test_work_is_kept_up_without_a_server_and_delivered_when_it_is_back(fleet: FakeFleet, car: MakeCar) -> None:
    add_units(fleet, 4)
    worker = car()
    worker.step()
    worker.step()
    worker.step_until(lambda: len(worker.agent._courier.list_ready()) == 4)
    fleet.refuse_next += [("sync", Refused(503, "unavailable"))] * 100
    worker.step_until(lambda: worker.agent.completed_count == 4)
    assert worker.agent.syncing.is_offline
    assert fleet.count("stored") == 0
    fleet.refuse_next.clear()
    wait_until(lambda: fleet.count("stored") == 4, also=lambda: worker.step(boot_seconds() + 1000.0))
    assert_all_right(fleet)


def test_a_disk_that_is_nearly_full_is_given_no_more_work(fleet: FakeFleet, car: MakeCar) -> None:
    add_units(fleet, 2)
    worker = car()
    worker.parts.cache._disk_bytes_free = lambda _: worker.parts.cache._disk_bytes_kept_free - 1
    worker.step_until(lambda: len(fleet.syncs) >= 3)
    assert {sync["capacity"]["replicas"] for sync in fleet.syncs} == {0}
    worker.parts.cache._disk_bytes_free = lambda _: worker.parts.cache._disk_bytes_kept_free + 10**9
    worker.step_until(lambda: fleet.count("stored") == 2)


def test_no_byte_is_sent_from_a_network_that_is_not_allowed(fleet: FakeFleet, car: MakeCar) -> None:
    add_units(fleet, 2)
    worker = car()
    worker.network.policy.may_send = lambda: False
    for _ in range(5):
        worker.step()
    assert fleet.requests == []
    assert worker.events("sync_failed") == []
    worker.network.policy.may_send = lambda: True
    worker.step_until(lambda: fleet.count("stored") == 2)
