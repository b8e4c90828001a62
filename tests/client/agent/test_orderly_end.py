"""SIGTERM ends a car with status 0 in every phase, whatever hangs; what it held is handed back or kept."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fleetclient.agent import service
from fleetclient.runner.checkpoints import rows_done
from tests.client.fake_fleet import FakeFleet
from tests.client.support import CarProcess, add_slow_units, add_units, assert_all_right, is_running, wait_until

MakeProcess = Callable[..., CarProcess]
SLOW = "[simulation]\nspeed = 0.05\n"


@pytest.fixture
def silent_server() -> Iterator[str]:
    """A server that takes connections and never says a word."""
    listener = socket.create_server(("127.0.0.1", 0))
    kept: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                kept.append(listener.accept()[0])
            except OSError:
                return

    threading.Thread(target=accept, daemon=True).start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for each in kept:
        each.close()


def with_server(process: CarProcess, origin: str, fleet: FakeFleet) -> CarProcess:
    process.config.write_text(process.config.read_text().replace(fleet.origin, origin))
    return process


def is_listening_to_signals(process: CarProcess) -> bool:
    """True once SIGTERM is caught: bit 14 of the mask of caught signals."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    status = dict(line.split(":\t") for line in lines if ":\t" in line)
    return bool(int(status["SigCgt"], 16) >> (signal.SIGTERM - 1) & 1)


def test_while_it_waits_for_its_owner_to_pair_it(fleet: FakeFleet, car_process: MakeProcess) -> None:
    fleet.polls_before_approval = 10**9
    process = car_process().start()
    wait_until(lambda: sum(path.endswith("pair/token") for _, path, _ in fleet.requests) >= 2)
    process.send(signal.SIGTERM)
    assert process.wait() == 0
    assert fleet.syncs == []


def test_while_pairing_hangs_in_a_server_that_says_nothing(
    fleet: FakeFleet, car_process: MakeProcess, silent_server: str
) -> None:
    process = with_server(car_process(), silent_server, fleet).start()
    wait_until(lambda: is_listening_to_signals(process))
    process.send(signal.SIGTERM)
    assert process.wait() == 0


def test_while_a_sync_hangs_in_a_server_that_says_nothing(
    fleet: FakeFleet, car_process: MakeProcess, silent_server: str
) -> None:
    process = car_process().start()
    wait_until(lambda: bool(fleet.syncs))
    process.send(signal.SIGTERM)
    assert process.wait() == 0
    with_server(process, silent_server, fleet).start()
    wait_until(lambda: len(process.events("started")) == 2)
    process.send(signal.SIGTERM)
    assert process.wait() == 0
    assert len(process.events("stopped")) == 2


def test_while_the_runner_is_starting(fleet: FakeFleet, car_process: MakeProcess) -> None:
    add_slow_units(fleet, 1, rows=4000)
    process = car_process(SLOW).start()
    wait_until(lambda: bool(process.events("runner_started")))
    process.send(signal.SIGTERM)
    assert process.wait() == 0
    assert not is_running(int(process.events("runner_started")[0]["pid"]))
    assert [item["reason"] for item in fleet.hand_backs] == ["shutting_down"]


def test_while_the_car_is_away_and_its_runner_frozen(fleet: FakeFleet, car_process: MakeProcess) -> None:
    add_slow_units(fleet, 1, rows=4000)
    process = car_process(f"[vehicle]\nhand_back = false\naway = [[2.0, 500.0]]\n{SLOW}").start()
    wait_until(lambda: bool(process.events("ineligible")))
    pid = int(process.events("runner_started")[0]["pid"])
    process.send(signal.SIGTERM)
    assert process.wait() == 0
    assert not is_running(pid)


def test_a_car_that_keeps_its_work_goes_on_at_the_last_block_at_its_next_start(
    fleet: FakeFleet, car_process: MakeProcess
) -> None:
    add_slow_units(fleet, 1, rows=400)
    process = car_process(f'on_stop = "keep"\n{SLOW}').start()
    wait_until(lambda: bool(process.events("block_done")))
    process.send(signal.SIGTERM)
    assert process.wait() == 0
    (part,) = (process.state / "outputs").glob("*.part")
    kept = rows_done(part)
    heard = [event["rows_done"] for event in process.events("block_done")]
    assert kept >= max(heard) > 0
    process.start()
    wait_until(lambda: fleet.count("stored") == 1)
    later = [event["rows_done"] for event in process.events("block_done")][len(heard) :]
    assert min(later) >= kept
    assert_all_right(fleet)
    assert fleet.hand_backs == []


def test_two_signals_are_as_good_as_one(fleet: FakeFleet, car_process: MakeProcess) -> None:
    add_units(fleet, 1)
    process = car_process().start()
    wait_until(lambda: fleet.count("stored") == 1)
    process.send(signal.SIGTERM)
    process.send(signal.SIGINT)
    assert process.wait() == 0


def test_an_end_that_hangs_is_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[int] = []
    monkeypatch.setattr("os._exit", ends.append)
    monkeypatch.setattr(service, "EXIT_SECONDS_MAX", 0.0)
    stop = service.StopFlag()
    stop._set()
    wait_until(lambda: ends == [0])
    assert stop.is_set


def test_sighup_reads_the_owners_rules_anew(fleet: FakeFleet, car_process: MakeProcess) -> None:
    process = car_process().start()
    wait_until(lambda: bool(fleet.syncs))
    assert fleet.syncs[-1]["state"]["eligible"]
    text = process.config.read_text()
    process.config.write_text(text + "\n[rules]\nstart_soc_pct = 99\nstop_soc_pct = 98\n")
    process.send(signal.SIGHUP)
    wait_until(lambda: fleet.syncs[-1]["state"]["reasons"] == ["soc_low"])
    process.config.write_text(text + "\n[rules]\nstart_soc_pct = 101\n")
    process.send(signal.SIGHUP)
    wait_until(lambda: bool(process.events("config_refused")))
    assert process.is_alive()
    assert fleet.syncs[-1]["state"]["reasons"] == ["soc_low"], "a file that cannot be read changes nothing"
    process.config.write_text(text)
    process.send(signal.SIGHUP)
    wait_until(lambda: bool(fleet.syncs[-1]["state"]["eligible"]))


def test_stop_now_freezes_at_once_hands_back_and_outlives_a_restart(fleet: FakeFleet, car_process: MakeProcess) -> None:
    fleet.next_sync_seconds = 1000.0
    add_slow_units(fleet, 2, rows=4000)
    process = car_process(SLOW).start()
    wait_until(lambda: bool(process.events("block_done")))
    pid = int(process.events("runner_started")[0]["pid"])
    assert process.run("stop-now").returncode == 0
    wait_until(lambda: not is_running(pid))
    wait_until(lambda: len(fleet.hand_backs) == len(fleet.replicas))
    assert {(item["kind"], item["reason"]) for item in fleet.hand_backs} == {("returned", "paused_user")}
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    fleet.next_sync_seconds = 0.05
    syncs = len(fleet.syncs)
    process.start()
    wait_until(lambda: len(fleet.syncs) > syncs)
    assert fleet.syncs[-1]["state"]["reasons"] == ["paused_user"]
    assert process.run("resume").returncode == 0
    wait_until(lambda: bool(fleet.syncs[-1]["state"]["eligible"]))


def test_the_last_document_says_that_the_agent_has_ended(fleet: FakeFleet, car_process: MakeProcess) -> None:
    process = car_process().start()
    wait_until(lambda: bool(fleet.syncs))
    process.send(signal.SIGTERM)
    assert process.wait() == 0
    document = json.loads((process.state / "status.json").read_text())
    assert (document["stopped"], document["state"], document["sentence"]) == (
        True,
        "stopped",
        "The agent is not running.",
    )
