"""What every source promises, played over all of them: the agent's loop knows no other difference between cars."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import enumerate as list_threads
from typing import Any

import can
import pytest

from bench.measure.mqtt_broker import start_broker
from fleetclient.clock import boot_seconds
from fleetclient.vehicle.bus_options import CanOptions, CanSignal
from fleetclient.vehicle.factory import make_source
from fleetclient.vehicle.file import StreamSource
from fleetclient.vehicle.mqtt_options import MqttOptions, MqttSignal, TeslamateOptions
from fleetclient.vehicle.options import FileOptions, SimulationOptions, VehicleOptions
from fleetclient.vehicle.signals import BOOLEAN_SIGNALS, SIGNALS
from tests.client.vehicle.buses import CAR_DBC, send_gear
from tests.client.vehicle.hearing import Bell, Publisher, known, value, wait_until


@dataclass
class Stage:
    """A source and the world that it listens to. `say_parked` makes the world say so, once, as it would.

    `is_told`: it knows nothing by itself.
    """

    source: Any
    say_parked: Callable[[bool], object]
    is_told: bool = True


def scripted(folder: Path) -> Iterator[Stage]:
    options = VehicleOptions(source="scripted", away_file="away")
    away = folder / "away"
    source = make_source(options, folder=folder, began_at=boot_seconds())
    yield Stage(source, lambda parked: away.unlink(missing_ok=True) if parked else away.touch(), is_told=False)


def simulated(folder: Path) -> Iterator[Stage]:
    # Whoever is asked to park or to drive waits for the life to do so: a day lasts some seconds here.
    options = VehicleOptions(
        source="simulated", simulation=SimulationOptions(seed=3, start="2026-03-02T06:00", speed=10_000.0)
    )
    yield Stage(make_source(options, folder=folder, began_at=boot_seconds()), lambda _: None, is_told=False)


def file(folder: Path) -> Iterator[Stage]:
    def say(parked: bool) -> None:
        (folder / "new").write_text(json.dumps({"parked": parked}))
        (folder / "new").replace(folder / "car.json")

    options = VehicleOptions(source="file", file=FileOptions(document_file="car.json", poll_seconds=0.01))
    yield Stage(make_source(options, folder=folder, began_at=0.0), say)


def stdin(folder: Path) -> Iterator[Stage]:
    reader, writer = os.pipe()
    yield Stage(StreamSource(reader), lambda parked: os.write(writer, json.dumps({"parked": parked}).encode() + b"\n"))
    os.close(writer)
    os.close(reader)


def teslamate(folder: Path) -> Iterator[Stage]:
    with start_broker() as broker:
        publisher = Publisher(broker.host, broker.port, prefix="teslamate/cars/1/")

        def say(parked: bool) -> None:
            publisher.say("state", "online")
            publisher.say("shift_state", "P" if parked else "D")
            publisher.say("healthy", "true", retain=False)

        options = VehicleOptions(source="teslamate", teslamate=TeslamateOptions(host=broker.host, port=broker.port))
        yield Stage(make_source(options, folder=folder, began_at=0.0), say)
        publisher.close()


def mqtt(folder: Path) -> Iterator[Stage]:
    with start_broker() as broker:
        publisher = Publisher(broker.host, broker.port)
        signals = {"parked": MqttSignal(topic="car/gear", on="P", off="D")}
        options = VehicleOptions(
            source="mqtt", mqtt=MqttOptions(host=broker.host, port=broker.port, retained="fresh", signals=signals)
        )
        source = make_source(options, folder=folder, began_at=0.0)
        yield Stage(source, lambda parked: publisher.say("car/gear", "P" if parked else "D"))
        publisher.close()


def can_bus(folder: Path) -> Iterator[Stage]:
    (folder / "car.dbc").write_text(CAR_DBC)
    channel = f"contract-{os.urandom(4).hex()}"
    signals = {"parked": CanSignal(message="GEARBOX", signal="GEAR", when="== P")}
    options = VehicleOptions(
        source="can", can=CanOptions(interface="virtual", channel=channel, dbc_file="car.dbc", signals=signals)
    )
    with can.Bus(interface="virtual", channel=channel) as bus:
        source = make_source(options, folder=folder, began_at=0.0)
        yield Stage(source, lambda parked: send_gear(bus, "P" if parked else "D"))


WORLDS = (scripted, simulated, file, stdin, teslamate, mqtt, can_bus)


@pytest.fixture(params=WORLDS, ids=lambda world: world.__name__)
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    world = request.param(tmp_path)
    made = next(world)
    yield made
    made.source.stop()
    next(world, None)


def listen(stage: Stage, wake: Callable[[], None], *, parked: bool = True) -> None:
    """Start the source and let it hear a first word."""
    stage.source.start(wake)
    wait_until(lambda: value(stage.source, "parked") is parked, doing=lambda: stage.say_parked(parked))


def test_everything_is_unknown_before_the_first_word(stage: Stage) -> None:
    assert known(stage.source) == {}
    if stage.is_told:
        stage.source.start(Bell().ring)
        wait_until(lambda: stage.source.problem)
        assert known(stage.source) == {}


def test_what_is_said_is_heard_in_the_signals_own_types(stage: Stage) -> None:
    listen(stage, Bell().ring)
    now = boot_seconds()
    signals = stage.source.read(now)
    assert set(signals.readings) <= set(SIGNALS)
    for name, reading in signals.readings.items():
        kind = bool if name in BOOLEAN_SIGNALS else float
        assert reading.value is None or type(reading.value) is kind, name
        assert reading.source
        assert reading.observed_at <= boot_seconds()


def test_the_agent_is_woken_by_a_change(stage: Stage) -> None:
    bell = Bell()
    listen(stage, bell.ring)
    wait_until(lambda: bell.count > 0)
    before = bell.count
    wait_until(lambda: value(stage.source, "parked") is False, doing=lambda: stage.say_parked(False))
    wait_until(lambda: bell.count > before)


def test_the_same_again_wakes_nobody(stage: Stage, request: pytest.FixtureRequest) -> None:
    if "simulated" in request.node.name:
        pytest.skip("a life does not repeat itself on request")
    bell = Bell()
    listen(stage, bell.ring)
    wait_until(lambda: bell.count > 0)
    stage.say_parked(True)
    # A change behind it tells that the repetition has been heard.
    heard = bell.count
    wait_until(lambda: value(stage.source, "parked") is False, doing=lambda: stage.say_parked(False))
    wait_until(lambda: bell.count > heard)
    assert bell.count - heard <= 2  # TeslaMate's state and gear are two messages


def test_a_source_can_be_read_from_within_its_own_call(stage: Stage) -> None:
    seen: list[object] = []
    listen(stage, lambda: seen.append(value(stage.source, "parked")))
    wait_until(lambda: True in seen)


def test_a_source_stops_twice_and_is_silent_then(stage: Stage) -> None:
    threads = set(list_threads())
    bell = Bell()
    listen(stage, bell.ring)
    assert set(list_threads()) > threads
    stage.source.stop()
    stage.source.stop()
    assert set(list_threads()) == threads
    heard, told = bell.count, known(stage.source)
    stage.say_parked(False)
    assert known(stage.source) == told
    assert bell.count == heard


def test_a_source_that_never_started_stops_as_well(stage: Stage) -> None:
    stage.source.stop()
    assert known(stage.source) == {}
