"""A whole car at work: what the commands, the page, Home Assistant and the service manager see of it, and say to it."""

from __future__ import annotations

import json
import re
import signal
import socket
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from bench.measure.mqtt_broker import start_broker
from tests.client.fake_fleet import FakeFleet
from tests.client.support import CarProcess, add_slow_units, add_units, assert_all_right, wait_until

MakeProcess = Callable[..., CarProcess]
SLOW = "[simulation]\nspeed = 0.05\n"
PASSWORD = "correct-horse-battery"


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = int(free.getsockname()[1])
    monkeypatch.setenv("FLEET_STATUS__PORT", str(number))
    return number


def get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
        text: str = answer.read().decode()
        return text


def press(port: int, path: str) -> None:
    token = re.search(r'name="token" value="([^"]+)"', get(port, "/"))
    assert token is not None
    body = urllib.parse.urlencode({"token": token[1]}).encode()
    origin = f"http://127.0.0.1:{port}"
    request = urllib.request.Request(origin + path, data=body, headers={"Origin": origin})
    urllib.request.urlopen(request, timeout=30).close()


def ask(process: CarProcess, *words: str) -> dict[str, Any]:
    done = process.run(*words, "--json")
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_a_pause_from_the_command_line_and_one_from_the_page_stop_the_work_and_resuming_finishes_it(
    fleet: FakeFleet, car_process: MakeProcess, port: int
) -> None:
    add_slow_units(fleet, 2, rows=600)
    process = car_process(SLOW).start()
    wait_until(lambda: bool(process.events("runner_ready")))
    assert json.loads(get(port, "/status.json"))["state"] == "working"
    assert ask(process, "pause", "1h")["agent_running"] is True
    wait_until(lambda: ask(process, "status")["state"] == "paused")
    assert "Paused" in get(port, "/")
    assert ask(process, "rules", "explain")["reasons"][0] == "paused_user"
    ask(process, "resume")
    wait_until(lambda: json.loads(get(port, "/status.json"))["state"] != "paused")
    press(port, "/pause")
    wait_until(lambda: json.loads(get(port, "/status.json"))["pause"]["forever"])
    press(port, "/resume")
    wait_until(lambda: fleet.count("stored") == 2)
    assert_all_right(fleet)
    document = json.loads(get(port, "/status.json"))
    assert set(document) == set(ask(process, "status")) - {"running"}
    assert get(port, "/healthz")
    last = ask(process, "data")
    assert "state.eligible" in [each["field"] for each in last["fields"]]
    process.send(signal.SIGTERM)
    assert process.wait() == 0
    assert ask(process, "history")["sessions"][-1]["units"] >= 1


def test_new_rules_hold_after_a_reload_and_wrong_ones_change_nothing(
    fleet: FakeFleet, car_process: MakeProcess
) -> None:
    process = car_process().start()
    wait_until(lambda: bool(process.events("started")))
    text = process.config.read_text()
    process.config.write_text(f"{text}[rules]\nstart_soc = 3\n")
    process.send(signal.SIGHUP)
    wait_until(lambda: bool(process.events("config_refused")))
    assert "did you mean" in process.events("config_refused")[0]["error"]
    process.config.write_text(f'{text}[rules]\naway_mode = "vacation"\n')
    process.send(signal.SIGHUP)
    wait_until(lambda: not ask(process, "status")["eligible"])
    assert process.is_alive()


def test_the_service_manager_hears_of_the_start_the_loop_and_the_end(
    fleet: FakeFleet, car_process: MakeProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        path = str(tmp_path / "notify")
        manager.bind(path)
        manager.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        monkeypatch.setenv("WATCHDOG_USEC", "300000")
        process = car_process().start()

        def hear(word: str) -> None:
            while not any(word in message for message in heard):
                heard.append(manager.recv(4096).decode())

        hear("READY=1")
        hear("WATCHDOG=1")
        heard.clear()
        hear("WATCHDOG=1")
        process.send(signal.SIGTERM)
        hear("STOPPING=1")
        assert process.wait() == 0


TOPICS = {
    "state": "online",
    "shift_state": "P",
    "plugged_in": "true",
    "charging_state": "Complete",
    "usable_battery_level": "90",
    "charge_limit_soc": "90",
    "geofence": "Home",
    "location": '{"latitude": 52.520008, "longitude": 13.404954}',
    "latitude": "52.520008",
    "longitude": "13.404954",
    "inside_temp": "20.5",
    "is_user_present": "false",
    "sentry_mode": "false",
    "healthy": "true",
}


def test_nothing_that_a_working_car_writes_down_or_says_holds_a_password_or_a_place(
    fleet: FakeFleet, car_process: MakeProcess, tmp_path: Path
) -> None:
    add_units(fleet, 2)
    with start_broker() as broker:
        teslamate = Client(CallbackAPIVersion.VERSION2)
        heard: list[bytes] = []
        teslamate.on_message = lambda _client, _data, message: heard.append(bytes(message.payload))
        teslamate.connect("127.0.0.1", broker.port)
        teslamate.subscribe("fleetcompute/#")
        teslamate.loop_start()

        def speak() -> None:
            for name, value in TOPICS.items():
                teslamate.publish(f"teslamate/cars/1/{name}", value, qos=1, retain=name != "healthy")

        process = car_process(
            f'[home_assistant]\nenabled = true\nhost = "127.0.0.1"\nport = {broker.port}\nusername = "car"\n'
            f'password = "{PASSWORD}"\n[vehicle]\nsource = "teslamate"\n[vehicle.teslamate]\nport = {broker.port}\n'
            "[rules]\nstart_after_seconds = 0\nonly_home_network = false\n"
        )
        process.config.chmod(0o600)
        process.start()
        wait_until(lambda: fleet.count("stored") == 2, also=speak)
        bundle = process.run("support-bundle", "--yes", "--output", str(tmp_path / "bundle.zip"))
        assert bundle.returncode == 0, bundle.stderr
        process.send(signal.SIGTERM)
        assert process.wait() == 0
        teslamate.disconnect()
        teslamate.loop_stop()
    written = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path != process.config}
    with zipfile.ZipFile(tmp_path / "bundle.zip") as archive:
        written |= {Path("bundle", name): archive.read(name) for name in archive.namelist()}
    assert {"car.log", "status.json", "last-sync.json", "history.sqlite"} <= {path.name for path in written}
    assert heard
    for secret in (PASSWORD, "52.52000", "13.40495"):
        assert [path for path, content in written.items() if secret.encode() in content] == []
        assert [message for message in heard if secret.encode() in message] == []
        assert secret not in json.dumps(fleet.syncs, default=str)


def test_leaving_the_fleet_gives_the_work_back_and_forgets_the_car(
    fleet: FakeFleet, car_process: MakeProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_slow_units(fleet, 3, rows=2000)
    process = car_process('on_stop = "keep"\n' + SLOW).start()
    wait_until(lambda: bool(process.events("runner_ready")))
    process.send(signal.SIGTERM)
    assert process.wait() == 0
    assert fleet.hand_backs == []
    answer = ask(process, "unpair", "--yes", "--wipe")
    assert (answer["unpaired"], answer["server_told"]) == (True, True)
    assert len(fleet.hand_backs) == len(fleet.replicas) > 0
    assert [path.name for path in process.state.iterdir()] == ["agent.lock"]
