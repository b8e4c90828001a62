"""The status document: shaped as its docstring says, written when something changed, fresh on request."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleetclient.agent import report
from fleetclient.agent.desk import Desk
from fleetclient.agent.report import fingerprint, state_word
from fleetclient.state import StateFolder
from fleetclient.vehicle.signals import SIGNALS
from tests.client.fake_fleet import FakeFleet
from tests.client.support import CarProcess, add_slow_units, add_units, wait_until

MakeProcess = Callable[..., CarProcess]


def documented_members() -> set[str]:
    """The names in the left column of the docstring's table."""
    table = [line[4:] for line in (report.__doc__ or "").splitlines() if re.match(r" {4}\w", line)]
    return {name for line in table for name in re.split(r"  +", line)[0].split(", ")}


def make_desk(folder: Path, documents: list[dict[str, Any]], wake: Callable[[], None] = lambda: None) -> Desk:
    return Desk(StateFolder(folder), look=lambda: documents[-1], wake=wake)


def document(**members: Any) -> dict[str, Any]:
    return {"at": 1.0, "signals": {}, "next_check_seconds": 5.0, "next_sync_seconds": 1.0, "sentence": "", **members}


def test_a_running_agents_document_has_exactly_the_documented_members(
    fleet: FakeFleet, car_process: MakeProcess
) -> None:
    add_slow_units(fleet, 2, rows=2000)
    process = car_process("[simulation]\nspeed = 0.05\n").start()
    path = process.state / "status.json"
    wait_until(lambda: path.exists() and json.loads(path.read_text())["state"] == "working")
    shown = json.loads(path.read_text())
    assert shown.keys() == documented_members()
    assert shown["signals"].keys() == set(SIGNALS)
    assert shown["signals"]["soc_pct"].keys() == {"value", "age_seconds", "source"}
    assert {"name", "open", "reason", "detail", "until"} == shown["gates"][0].keys()
    assert shown["units"].keys() == {"held", "finished", "kept", "uploading", "returning"}
    assert shown["runner"].keys() == {"pid", "frozen", "model", "walls"}
    assert shown["rows"] == 2000
    assert shown["walls"]["refused"] == ""
    assert shown["usage"]["bytes_today"] > 0
    assert shown["vehicle_id"] in fleet.vehicles
    assert shown["sentence"].startswith("Working: row ")


@pytest.mark.slow
def test_an_idle_agent_does_not_write_its_document_again(fleet: FakeFleet, car_process: MakeProcess) -> None:
    add_units(fleet, 1)
    fleet.next_sync_seconds = 0.3
    process = car_process().start()
    path = process.state / "status.json"
    wait_until(lambda: fleet.count("stored") == 1 and json.loads(path.read_text())["runner"] is None)
    wait_until(lambda: json.loads(path.read_text())["completed"] == 1)
    # `last_contact_at` and the bytes change with each sync; with a server that asks for none, nothing changes.
    fleet.next_sync_seconds = 1000.0
    syncs = len(fleet.syncs)
    wait_until(lambda: len(fleet.syncs) > syncs)
    settled = Settled(path)
    wait_until(settled.has_not_changed_for_five_seconds)
    assert process.run("status").stdout.startswith("Waiting for work; 1 unit")


class Settled:
    """True once a file has kept its content for five looks of the guard."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen = b""
        self.looks = 0

    def has_not_changed_for_five_seconds(self) -> bool:
        content = self.path.read_bytes()
        self.looks = self.looks + 1 if content == self.seen else 0
        self.seen = content
        return self.looks > 550


@pytest.mark.parametrize(
    ("members", "word"),
    [
        ({"reasons": ["suspended_ops", "paused_user"], "eligible": False}, "suspended"),
        ({"reasons": ["unconfined"], "eligible": False}, "attention"),
        ({"reasons": ["paused_user", "driving"], "eligible": False}, "paused"),
        ({"reasons": ["driving"], "eligible": False}, "waiting"),
        ({"reasons": [], "eligible": True, "rows": 10, "online": False}, "working"),
        ({"reasons": [], "eligible": True, "rows": None, "online": True}, "ready"),
        ({"reasons": [], "eligible": True, "rows": None, "online": False}, "offline"),
    ],
)
def test_one_word_says_what_the_car_is_doing(members: dict[str, Any], word: str) -> None:
    assert state_word(members) == word


def test_the_passing_of_time_alone_is_no_change(tmp_path: Path) -> None:
    reading = {"value": True, "age_seconds": 1.0, "source": "test"}
    documents = [document(signals={"parked": reading, "updating": None})]
    desk = make_desk(tmp_path, documents)
    desk.publish(0.0)
    written = (tmp_path / "status.json").stat().st_ino
    documents.append(document(at=2.0, signals={"parked": {**reading, "age_seconds": 9.0}, "updating": None}))
    desk.publish(1.0)
    assert (tmp_path / "status.json").stat().st_ino == written
    documents.append(document(at=3.0, signals={"parked": {**reading, "value": False}, "updating": None}))
    desk.publish(2.0)
    assert json.loads((tmp_path / "status.json").read_text())["at"] == 3.0
    assert fingerprint(documents[0]) == fingerprint(documents[1]) != fingerprint(documents[2])


def test_a_change_within_a_second_of_the_last_look_is_looked_at_again(tmp_path: Path) -> None:
    documents = [document(rows=1)]
    desk = make_desk(tmp_path, documents)
    assert desk.publish(10.0) == float("inf")
    documents.append(document(rows=2))
    assert desk.publish(10.4) == pytest.approx(0.6)
    assert json.loads((tmp_path / "status.json").read_text())["rows"] == 1
    desk.publish(11.0)
    assert json.loads((tmp_path / "status.json").read_text())["rows"] == 2


def test_who_asks_gets_a_document_made_after_the_question(tmp_path: Path) -> None:
    documents, asked = [document(rows=1)], threading.Event()
    desk = make_desk(tmp_path, documents, wake=asked.set)
    desk.publish(0.0)
    documents.append(document(rows=2))
    answers: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: answers.append(desk.fresh()))
    thread.start()
    assert asked.wait(30)
    desk.publish(0.1)
    thread.join()
    assert answers[0]["rows"] == 2


def test_who_asks_while_the_loop_is_busy_gets_the_last_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleetclient.agent.desk.FRESH_SECONDS_MAX", 0.01)
    desk = make_desk(tmp_path, [document(rows=1)])
    desk.publish(0.0)
    assert desk.fresh()["rows"] == 1
