"""Home Assistant: what a real broker holds of the car, and the switch that pauses it."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from bench.measure.mqtt_broker import BrokerSettings, MqttBroker, hash_password, start_broker
from fleetclient.config import Config, ConfigInvalid, parse_config
from fleetclient.control import NOTHING_ASKED, ControlState
from fleetclient.home_assistant.discovery import make_name
from fleetclient.home_assistant.publisher import HomeAssistant, find_broker
from fleetclient.logs import Log
from tests.client.operation.sample import make_status

VEHICLE = "veh_5YJ3E1EA7KF317000"
ROOT = f"fleetcompute/{make_name(VEHICLE)}"
GIVE_UP_SECONDS = 60.0


class Listener:
    """What Home Assistant would hear."""

    def __init__(self, port: int, username: str = "", password: str = "") -> None:
        self.heard: dict[str, str] = {}
        self.client = Client(CallbackAPIVersion.VERSION2)
        if username:
            self.client.username_pw_set(username, password)
        self.client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self.client.on_message = self._on_message
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        self.heard[message.topic] = message.payload.decode()

    def wait_for(self, topic: str, value: str) -> None:
        wait_until(lambda: self.heard.get(topic) == value)

    def say(self, topic: str, value: str, *, retain: bool = False) -> None:
        self.client.publish(topic, value, qos=1, retain=retain).wait_for_publish(GIVE_UP_SECONDS)

    def stop(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def wait_until(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + GIVE_UP_SECONDS
    while not condition():
        assert time.monotonic() < give_up_at, "it did not happen"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def broker() -> Iterator[MqttBroker]:
    with start_broker() as running:
        yield running


@pytest.fixture
def listener(broker: MqttBroker) -> Iterator[Listener]:
    each = Listener(broker.port)
    yield each
    each.stop()


def make_config(folder: Path, port: int, **more: Any) -> Config:
    section = {"enabled": True, "host": "127.0.0.1", "port": port, "interval_seconds": 1.0, **more}
    return parse_config({"server": "https://fleet.example", "home_assistant": section}, folder=folder)


class Car:
    def __init__(self, folder: Path, config: Config) -> None:
        self.document = make_status(reasons=["soc_low"])
        self.control = ControlState(folder)
        self.publisher = HomeAssistant(
            config, vehicle_id=VEHICLE, status=lambda: self.document, control=self.control, log=Log()
        )
        self.publisher.start()


@pytest.fixture
def car(tmp_path: Path, broker: MqttBroker) -> Iterator[Car]:
    made = Car(tmp_path, make_config(tmp_path, broker.port))
    yield made
    made.publisher.stop()


def test_home_assistant_learns_of_every_entity_and_its_value(car: Car, listener: Listener) -> None:
    listener.wait_for(f"{ROOT}/availability", "online")
    listener.wait_for(f"{ROOT}/pause", "OFF")
    configs = {topic: json.loads(text) for topic, text in listener.heard.items() if topic.startswith("homeassistant/")}
    assert len(configs) == 7
    for entity in configs.values():
        assert listener.heard[entity["state_topic"]] != ""
        assert entity["availability_topic"] == f"{ROOT}/availability"
        assert entity["device"]["identifiers"] == [f"fleetcompute_{make_name(VEHICLE)}"]
    assert len({entity["unique_id"] for entity in configs.values()}) == len(configs)
    assert listener.heard[f"{ROOT}/state"] == "waiting"
    assert listener.heard[f"{ROOT}/reason"] == "soc_low"
    assert listener.heard[f"{ROOT}/power_w"] == "0.0"
    assert listener.heard[f"{ROOT}/net_today"] == "None"
    assert listener.heard[f"{ROOT}/energy_today"] == "0.048"


def test_no_identifier_of_the_car_reaches_the_broker(car: Car, listener: Listener) -> None:
    listener.wait_for(f"{ROOT}/pause", "OFF")
    said = " ".join([*listener.heard, *listener.heard.values()])
    assert VEHICLE not in said
    assert "5YJ3E1EA7KF317000" not in said


def test_a_change_is_told_once_and_what_is_the_same_is_not_repeated(car: Car, listener: Listener) -> None:
    listener.wait_for(f"{ROOT}/state", "waiting")
    car.document = make_status(state="working", reasons=[], power_w=18.0, net_today=0.123456)
    listener.wait_for(f"{ROOT}/state", "working")
    listener.wait_for(f"{ROOT}/reason", "none")
    listener.wait_for(f"{ROOT}/net_today", "0.1235")
    listener.heard.clear()
    car.document = make_status(state="ready", reasons=[], power_w=18.0, net_today=0.123456)
    listener.wait_for(f"{ROOT}/state", "ready")
    assert f"{ROOT}/power_w" not in listener.heard


def test_the_switch_pauses_the_car_and_resumes_it(car: Car, listener: Listener) -> None:
    listener.wait_for(f"{ROOT}/availability", "online")
    listener.say(f"{ROOT}/pause/set", "ON")
    wait_until(lambda: car.control.read().paused_until_unix == math.inf)
    listener.say(f"{ROOT}/pause/set", "OFF")
    wait_until(lambda: car.control.read() == NOTHING_ASKED)


def test_the_switch_shows_what_the_agent_says(car: Car, listener: Listener) -> None:
    car.document = make_status(pause={"until": None, "forever": True, "finishing": False})
    listener.wait_for(f"{ROOT}/pause", "ON")


def test_an_old_wish_that_the_broker_kept_is_not_carried_out(
    tmp_path: Path, broker: MqttBroker, listener: Listener
) -> None:
    listener.say(f"{ROOT}/pause/set", "ON", retain=True)
    listener.wait_for(f"{ROOT}/pause/set", "ON")  # from here on it is an old one
    car = Car(tmp_path, make_config(tmp_path, broker.port))
    listener.wait_for(f"{ROOT}/availability", "online")
    car.control.finish()
    listener.say(f"{ROOT}/pause/set", "", retain=True)
    listener.say(f"{ROOT}/pause/set", "toggle")
    listener.wait_for(f"{ROOT}/pause", "OFF")
    assert car.control.read().is_finishing
    # A wish of now comes after all of these.
    listener.say(f"{ROOT}/pause/set", "OFF")
    wait_until(lambda: car.control.read() == NOTHING_ASKED)
    car.publisher.stop()


def test_an_agent_that_ends_says_so(tmp_path: Path, broker: MqttBroker, listener: Listener) -> None:
    car = Car(tmp_path, make_config(tmp_path, broker.port))
    listener.wait_for(f"{ROOT}/availability", "online")
    car.publisher.stop()
    listener.wait_for(f"{ROOT}/availability", "offline")


_AGENT = """
import sys, time
from pathlib import Path
from tests.client.operation.test_home_assistant import Car, make_config
Car(Path(sys.argv[1]), make_config(Path(sys.argv[1]), int(sys.argv[2])))
time.sleep(600)
"""


def test_an_agent_that_is_killed_is_said_to_be_gone_by_the_broker(
    tmp_path: Path, broker: MqttBroker, listener: Listener
) -> None:
    root = Path(__file__).parents[3]
    process = subprocess.Popen(
        [sys.executable, "-c", _AGENT, str(tmp_path), str(broker.port)],
        env={**os.environ, "PYTHONPATH": f"{root}:{root / 'client'}"},
    )
    listener.wait_for(f"{ROOT}/availability", "online")
    process.send_signal(signal.SIGKILL)
    process.wait()
    listener.wait_for(f"{ROOT}/availability", "offline")


def test_a_broker_that_comes_back_is_told_everything_again(tmp_path: Path) -> None:
    with start_broker() as first:
        car = Car(tmp_path, make_config(tmp_path, first.port))
        before = Listener(first.port)
        before.wait_for(f"{ROOT}/availability", "online")
        before.stop()
        port = first.port
    with start_broker(BrokerSettings(port=port)):
        after = Listener(port)
        after.wait_for(f"{ROOT}/availability", "online")
        after.wait_for(f"{ROOT}/state", "waiting")
        after.stop()
    car.publisher.stop()


def test_a_broker_that_went_away_a_moment_ago_does_not_keep_the_agent_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with start_broker() as broker:
        car = Car(tmp_path, make_config(tmp_path, broker.port))
        listener = Listener(broker.port)
        listener.wait_for(f"{ROOT}/availability", "online")
        listener.stop()
    monkeypatch.setattr(Client, "is_connected", lambda _: True)  # it has not noticed yet
    client = car.publisher._client
    assert client is not None
    car.publisher.stop()
    assert client._thread is None  # its loop has ended


def test_a_password_may_stand_in_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    (tmp_path / "users").write_text(f"car:{hash_password('hunter22')}\n")
    secret = tmp_path / "mqtt-password"
    secret.write_text("hunter22\n")
    secret.chmod(0o600)
    with start_broker(BrokerSettings(password_file=str(tmp_path / "users"))) as broker:
        car = Car(tmp_path, make_config(tmp_path, broker.port, username="car", password_file="mqtt-password"))
        listener = Listener(broker.port, "car", "hunter22")
        listener.wait_for(f"{ROOT}/availability", "online")
        listener.stop()
        car.publisher.stop()


def test_the_vehicle_sources_broker_is_used_when_no_other_is_named(tmp_path: Path) -> None:
    document = {
        "server": "https://fleet.example",
        "vehicle": {"source": "teslamate", "teslamate": {"host": "broker.lan", "port": 1884, "username": "car"}},
        "home_assistant": {"enabled": True},
    }
    broker, password = find_broker(parse_config(document, folder=tmp_path))
    assert (broker.host, broker.port, broker.username, password) == ("broker.lan", 1884, "car", "")


def test_a_car_without_any_broker_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"^home_assistant.host is missing"):
        parse_config({"server": "https://fleet.example", "home_assistant": {"enabled": True}}, folder=tmp_path)


def test_wishes_of_many_threads_leave_the_last_one_on_disk(tmp_path: Path) -> None:
    control = ControlState(tmp_path)
    threads = [threading.Thread(target=control.pause, args=(float(number),)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ControlState(tmp_path).read() == control.read()
