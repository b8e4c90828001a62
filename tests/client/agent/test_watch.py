"""The watcher: signals, facts and rules become one verdict; a no freezes the runner before anything else."""

from __future__ import annotations

import io
import json
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from fleetclient.agent.brake import Brake
from fleetclient.agent.facts import Facts
from fleetclient.agent.rulebook import Rulebook
from fleetclient.agent.watch import Watcher
from fleetclient.control import ControlState
from fleetclient.logs import Log
from fleetclient.rules.rules import Rules, dump_rules
from fleetclient.usage import UsageMeter
from fleetclient.vehicle.scripted import AT_HOME
from fleetclient.vehicle.signals import Reading, Signals

NOON = 1_790_000_000.0


@dataclass
class FakeSource:
    """A car whose signals a test sets; `raises` makes it fail."""

    told: dict[str, Any] = field(default_factory=lambda: dict(AT_HOME))
    observed_at: float = 0.0
    raises: Exception | None = None

    def read(self, now_elapsed: float) -> Signals:
        if self.raises:
            raise self.raises
        at = self.observed_at or now_elapsed
        return Signals({name: Reading(value, at, "test") for name, value in self.told.items()})


@dataclass
class Scene:
    source: FakeSource
    watcher: Watcher
    brake: Brake
    control: ControlState
    usage: UsageMeter
    log: io.StringIO
    rules: list[Rules]
    stopped: list[str]

    def settle(self, now: float) -> None:
        """Let the car be fit for as long as the rules want before work begins."""
        self.watcher.refresh(now - 61.0)
        self.brake.release(self.brake.presses)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    source, brake, log, stopped = FakeSource(), Brake(), io.StringIO(), [""]
    control, usage, rules = ControlState(tmp_path), UsageMeter(tmp_path / "usage.json"), [Rules()]
    watcher = Watcher(
        source=source,
        rules=lambda: rules[0],
        facts=Facts(usage=usage, control=control).read,
        brake=brake,
        log=Log(stream=log),
        stop_reason=lambda: stopped[0],
        unix=lambda: NOON,
    )
    return Scene(source, watcher, brake, control, usage, log, rules, stopped)


def test_a_car_that_is_fit_begins_after_it_has_been_fit_for_a_while(scene: Scene) -> None:
    first = scene.watcher.refresh(1000.0)
    assert (first.eligible, first.reasons, first.absent_seconds) == (False, ("settling",), 60.0)
    assert scene.brake.is_pressed
    assert scene.watcher.due_at() == 1005.0
    assert scene.watcher.refresh(1060.0).eligible


def test_a_no_presses_the_brake_and_a_yes_does_not_release_it(scene: Scene) -> None:
    scene.settle(1000.0)
    assert scene.watcher.refresh(1000.0).eligible
    pressed_before = scene.brake.is_pressed
    assert not pressed_before
    scene.source.told |= {"parked": False, "plugged_in": False, "user_present": True}
    state = scene.watcher.refresh(1001.0)
    assert state.reasons[0] == "driving"
    assert state.absent_seconds is None
    assert scene.brake.is_pressed
    scene.source.told = dict(AT_HOME)
    scene.watcher.refresh(1100.0)
    scene.watcher.refresh(1200.0)
    assert scene.brake.is_pressed, "only the loop releases, after it has made up its mind about the unit"


def test_between_two_looks_the_answer_comes_from_memory(scene: Scene) -> None:
    scene.settle(1000.0)
    assert scene.watcher.read(1000.0).eligible
    scene.source.told["user_present"] = True
    assert scene.watcher.read(1004.9).eligible
    assert scene.watcher.read(1005.0).reasons == ("user_present",)


def test_signals_that_grow_old_end_the_work_without_anybody_calling(scene: Scene) -> None:
    scene.source.observed_at = 1000.0
    scene.watcher.refresh(1000.0)
    assert scene.watcher.refresh(1100.0).eligible
    for now in range(1100, 1300, 5):
        assert scene.watcher.read(float(now)).eligible
    assert scene.watcher.read(1301.0).reasons == ("signal_stale",)


def test_a_source_that_fails_is_a_car_that_is_not_ours_to_use_and_is_logged_once(scene: Scene) -> None:
    scene.settle(1000.0)
    scene.source.raises = OSError("the bus is gone")
    assert scene.watcher.refresh(1000.0).reasons == ("signal_stale",)
    assert scene.watcher.refresh(1001.0).reasons == ("signal_stale",)
    assert [json.loads(line)["event"] for line in scene.log.getvalue().splitlines()] == ["vehicle_source_failed"]
    scene.source.raises = None
    assert scene.watcher.refresh(1002.0).reasons == ("settling",)


def test_a_pause_of_known_length_is_an_absence_of_known_length(scene: Scene) -> None:
    scene.settle(1000.0)
    scene.control.pause(NOON + 600.0)
    state = scene.watcher.refresh(1000.0)
    assert state.reasons == ("paused_user",)
    # The pause, and then the time in which all has to be well.
    assert state.absent_seconds == 660.0
    scene.control.pause(math.inf)
    assert scene.watcher.refresh(1001.0).absent_seconds is None


def test_finishing_leaves_the_car_to_what_it_holds(scene: Scene) -> None:
    scene.settle(1000.0)
    scene.control.finish()
    state = scene.watcher.refresh(1000.0)
    assert (state.eligible, state.is_finishing) == (True, True)
    scene.source.told["user_present"] = True
    state = scene.watcher.refresh(1001.0)
    assert (state.eligible, state.is_finishing) == (False, False)


def test_a_stopped_fleet_stops_a_car_that_is_fit(scene: Scene) -> None:
    scene.settle(1000.0)
    scene.stopped[0] = "the fleet's signed metadata has expired"
    state = scene.watcher.refresh(1000.0)
    assert state.reasons == ("suspended_ops",)
    assert state.absent_seconds is None
    assert scene.watcher.look is not None
    gate = scene.watcher.look.decision.gates[0]
    assert (gate.name, gate.is_open, gate.detail) == ("fleet", False, scene.stopped[0])


def test_the_bytes_of_the_day_count(scene: Scene) -> None:
    scene.settle(1000.0)
    scene.rules[0] = replace(Rules(), data_day_gb_max=0.001)
    assert scene.watcher.refresh(1000.0).eligible
    scene.usage.add_bytes(600_000, 600_000)
    assert scene.watcher.refresh(1001.0).reasons == ("data_cap",)


def test_a_scripted_car_waits_for_nothing_and_knows_when_it_is_back(tmp_path: Path) -> None:
    source, brake = FakeSource(), Brake()
    control = ControlState(tmp_path)
    watcher = Watcher(
        source=source,
        rules=Rules,
        facts=Facts(usage=UsageMeter(tmp_path / "usage.json"), control=control).read,
        brake=brake,
        log=Log(stream=io.StringIO()),
        script=lambda _: 12.0,
        unix=lambda: NOON,
    )
    assert watcher.refresh(1000.0).eligible
    source.told |= {"parked": False, "plugged_in": False}
    assert watcher.refresh(1001.0).absent_seconds == 12.0
    control.pause()
    assert watcher.refresh(1002.0).absent_seconds is None, "the script does not know when its owner ends a pause"


def test_the_servers_rules_make_the_owners_stricter_and_outlive_a_restart(tmp_path: Path) -> None:
    path, log = tmp_path / "server-rules.json", Log(stream=io.StringIO())
    local = replace(Rules(), start_soc_pct=80.0, stop_soc_pct=75.0)
    book = Rulebook(local=local, path=path, log=log)
    looser = dump_rules(replace(Rules(), start_soc_pct=20.0, stop_soc_pct=15.0, cabin_max_c=30.0))
    assert book.adopt_server(looser)
    assert not book.adopt_server(looser)
    assert (book.rules.start_soc_pct, book.rules.stop_soc_pct, book.rules.cabin_max_c) == (80.0, 75.0, 30.0)
    assert Rulebook(local=local, path=path, log=log).rules == book.rules
    assert book.adopt_server({})
    assert book.rules == local


def test_rules_of_the_server_that_cannot_be_read_change_nothing(tmp_path: Path) -> None:
    path, lines = tmp_path / "server-rules.json", io.StringIO()
    book = Rulebook(local=Rules(), path=path, log=Log(stream=lines))
    assert not book.adopt_server({"only_parked": False})
    assert book.rules == Rules()
    assert not path.exists()
    assert "only_parked" in json.loads(lines.getvalue())["error"]


def test_after_a_stop_of_the_fleet_work_begins_again_at_the_charge_for_beginning(scene: Scene) -> None:
    scene.source.told["soc_pct"] = 70.0
    scene.settle(1000.0)
    assert scene.watcher.refresh(1000.0).eligible
    scene.source.told["soc_pct"] = 69.0  # enough to go on, not enough to begin
    assert scene.watcher.refresh(1000.0).eligible
    scene.stopped[0] = "the fleet is stopped"
    assert scene.watcher.refresh(1001.0).reasons[0] == "suspended_ops"
    scene.stopped[0] = ""
    assert scene.watcher.refresh(1002.0).reasons == ("soc_low",)
