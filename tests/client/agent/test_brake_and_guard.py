"""The brake and the guard: the runner is frozen at once, from any thread, whatever the loop is doing."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fleetclient.agent.brake import Brake
from fleetclient.agent.guard import Guard
from fleetclient.clock import boot_seconds
from fleetclient.vehicle.source import VehicleState
from tests.client.fake_fleet import FakeFleet
from tests.client.support import (
    WAIT_SECONDS,
    Car,
    SettableVehicle,
    add_slow_units,
    assert_all_right,
    process_state,
    wait_until,
)

MakeCar = Callable[..., Car]
SLOW = {"simulation": {"speed": 0.05}}


class Recorder:
    """Stands for a runner; remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def stop(self) -> None:
        self.told.append("stop")

    def resume(self) -> None:
        self.told.append("resume")


class WatchedVehicle(SettableVehicle):
    """A settable car that presses the brake as the real watcher does."""

    def __init__(self, brake: Brake) -> None:
        super().__init__()
        self.brake = brake

    def refresh(self, now: float) -> VehicleState:
        del now
        if not self.state.eligible:
            self.brake.press()
        return self.state

    def due_at(self) -> float:
        return float("inf")


@pytest.fixture
def guards() -> Iterator[list[Guard]]:
    started: list[Guard] = []
    yield started
    for guard in started:
        guard.stop()


def test_what_is_attached_is_frozen_once_and_released_once() -> None:
    brake, runner = Brake(), Recorder()
    brake.attach(runner)
    brake.press()
    brake.press()
    assert brake.is_pressed
    assert brake.release(brake.presses)
    assert brake.release(brake.presses)
    assert runner.told == ["stop", "resume"]


def test_a_runner_that_starts_while_the_brake_is_pressed_is_frozen_before_it_is_given_anything() -> None:
    brake, runner = Brake(), Recorder()
    brake.press()
    brake.attach(runner)
    assert runner.told == ["stop"]


def test_a_press_between_the_look_and_the_release_wins() -> None:
    brake, runner = Brake(), Recorder()
    brake.attach(runner)
    brake.press()
    seen = brake.presses
    brake.press()
    assert not brake.release(seen)
    assert brake.is_pressed
    assert runner.told == ["stop"]


def test_an_ended_runner_is_left_alone() -> None:
    brake, ended, other = Brake(), Recorder(), Recorder()
    brake.attach(ended)
    brake.attach(other)
    brake.detach(ended)
    brake.press()
    assert (ended.told, other.told) == ([], ["stop"])


def test_a_race_of_starts_and_departures_never_leaves_a_runner_running() -> None:
    for _ in range(300):
        brake, runner = Brake(), Recorder()
        barrier = threading.Barrier(2)

        def press(brake: Brake = brake, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            brake.press()

        other = threading.Thread(target=press)
        other.start()
        barrier.wait()
        brake.attach(runner)
        other.join()
        assert runner.told == ["stop"]


def test_the_runner_is_frozen_while_the_loop_is_inside_a_slow_step(
    fleet: FakeFleet, car: MakeCar, guards: list[Guard]
) -> None:
    add_slow_units(fleet, 1, rows=4000)
    worker = car(**SLOW)
    vehicle = WatchedVehicle(worker.parts.brake)
    guard = Guard(vehicle, brake=worker.parts.brake, wake_loop=lambda: None)
    guards.append(guard)
    guard.start()
    worker.step_until(lambda: worker.parts.workshop.rows_done > 0)
    assert worker.parts.workshop.runner is not None
    pid = worker.parts.workshop.runner.pid
    # From here on the loop makes no pass at all: it might be waiting for a disk.
    vehicle.leave()
    guard.wake()
    wait_until(lambda: process_state(pid) == "T")
    assert worker.parts.brake.is_pressed
    assert worker.agent.state.eligible, "the loop has not even heard of it"


def test_the_loop_does_not_release_what_the_guard_has_frozen_in_the_meantime(fleet: FakeFleet, car: MakeCar) -> None:
    add_slow_units(fleet, 1, rows=400)
    worker = car(**SLOW)
    worker.step_until(lambda: worker.parts.workshop.rows_done > 0)
    assert worker.parts.workshop.runner is not None
    pid = worker.parts.workshop.runner.pid
    read = worker.vehicle.read

    def read_and_leave(now: float) -> VehicleState:
        state = read(now)
        worker.parts.brake.press()  # the guard, on its thread, between the loop's look and its release
        return state

    worker.vehicle.read = read_and_leave  # type: ignore[method-assign]
    worker.step()
    wait_until(lambda: process_state(pid) == "T")
    worker.step()
    assert process_state(pid) == "T"
    worker.vehicle.read = read  # type: ignore[method-assign]
    worker.step_until(lambda: fleet.count("stored") == 1)
    assert_all_right(fleet)
    assert fleet.hand_backs == []


def test_no_runner_is_started_while_the_brake_is_pressed(fleet: FakeFleet, car: MakeCar) -> None:
    add_slow_units(fleet, 1, rows=4)
    worker = car()
    worker.step_until(lambda: bool(worker.agent._courier.list_ready()))
    worker.parts.workshop.kill()
    worker.parts.brake.press()
    worker.parts.workshop.feed(worker.agent._courier.list_ready(), now=boot_seconds())
    assert worker.parts.workshop.runner is None


def test_the_guard_wakes_the_loop_for_news_and_for_nothing_else(guards: list[Guard]) -> None:
    brake, woken = Brake(), threading.Semaphore(0)
    vehicle = WatchedVehicle(brake)
    guard = Guard(vehicle, brake=brake, wake_loop=woken.release)
    guards.append(guard)
    guard.start()
    woken.acquire()
    looks = threading.Semaphore(0)
    refresh = vehicle.refresh
    vehicle.refresh = lambda now: (refresh(now), looks.release())[0]  # type: ignore[method-assign,func-returns-value]
    for _ in range(3):
        guard.wake()
        looks.acquire()
    vehicle.leave("soc_low")
    guard.wake()
    woken.acquire()
    assert not woken.acquire(blocking=False)
    assert brake.is_pressed


def test_a_guard_that_fails_leaves_the_brake_pressed_and_says_why(guards: list[Guard]) -> None:
    brake, woken = Brake(), threading.Event()
    vehicle = WatchedVehicle(brake)
    failure = RuntimeError("a mistake in the rules")

    def fail(now: float) -> VehicleState:
        raise failure

    vehicle.refresh = fail  # type: ignore[method-assign]
    guard = Guard(vehicle, brake=brake, wake_loop=woken.set)
    guards.append(guard)
    guard.start()
    assert woken.wait(WAIT_SECONDS)
    assert brake.is_pressed
    assert guard.failure is failure


def test_a_frozen_runner_whose_agent_is_killed_does_not_stay_behind(tmp_path: Path) -> None:
    """Frozen before it could ask to die with its parent, it is woken and ended by the kernel (orphaned group)."""
    script = (
        "import os, pathlib, signal, subprocess, sys\n"
        # As in the agent, which catches it; under nohup it would be ignored, and that is inherited.
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(3600)'], process_group=0)\n"
        "os.killpg(child.pid, signal.SIGSTOP)\n"
        "stat = pathlib.Path(f'/proc/{child.pid}/stat')\n"
        "while stat.read_text().rsplit(')', 1)[1].split()[0] != 'T': pass\n"
        "print(child.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, start_new_session=True, timeout=60
    )
    pid = int(done.stdout)
    wait_until(lambda: not Path(f"/proc/{pid}").exists() or process_state(pid) == "Z")
