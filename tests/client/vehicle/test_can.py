"""A CAN bus: python-can's virtual one, with a small car of our own and with DBCs of real cars."""

from __future__ import annotations

import math
import operator
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import can
import pytest

from fleetclient.vehicle.bus_options import CanOptions, CanSignal
from fleetclient.vehicle.can_bus import CanSource, decode_frame, read_frames
from fleetclient.vehicle.can_meaning import Meaning
from fleetclient.vehicle.checks import SourceInvalid
from fleetclient.vehicle.dbc import excerpt, load_messages
from tests.client.vehicle.buses import CAR_DBC, car_database, send, send_gear
from tests.client.vehicle.hearing import Bell, age, keeps, known, value, wait_until

SIGNALS = {
    "parked": CanSignal(message="GEARBOX", signal="GEAR", when="== P", unknown=("SNA", "INIT")),
    "plugged_in": CanSignal(message="CHARGE_STATUS", signal="CABLE", when="== POWERED", unknown=("SNA",)),
    "soc_pct": CanSignal(message="CHARGE_STATUS", signal="SOC"),
    "pack_temp_c": CanSignal(message="CHARGE_STATUS", signal="PACK_TEMP", scale=5 / 9, offset=-160 / 9),
    "cabin_temp_c": CanSignal(message="CABIN", signal="TEMP"),
    "user_present": CanSignal(message="CABIN", signal="SEAT", when="> 0"),
}


class World:
    """A bus, a car that sends on it, and a source that listens."""

    def __init__(self, folder: Path) -> None:
        (folder / "car.dbc").write_text(CAR_DBC)
        self.channel = f"bus-{os.urandom(4).hex()}"
        self.bus = can.Bus(interface="virtual", channel=self.channel)
        options = CanOptions(interface="virtual", channel=self.channel, dbc_file="car.dbc", signals=SIGNALS)
        self.source = CanSource(options, folder=folder)
        self.bell = Bell()
        self.source.start(self.bell.ring)
        self.database = car_database()

    def send(self, name: str, **values: float | str) -> None:
        send(self.bus, self.database, name, values)

    def close(self) -> None:
        self.source.stop()
        self.bus.shutdown()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def send_charge(world: World, *, cable: str = "POWERED", soc: float = 80.5, pack_f: float = 68.0) -> None:
    world.send("CHARGE_STATUS", CABLE=cable, SOC=soc, PACK_TEMP=pack_f)


def test_frames_are_heard_in_our_words_and_units(world: World) -> None:
    def send_both() -> None:
        send_gear(world.bus, "P")
        send_charge(world)

    wait_until(lambda: len(known(world.source)) == 4, doing=send_both)
    assert known(world.source) == {
        "parked": True,
        "plugged_in": True,
        "soc_pct": pytest.approx(80.5),
        "pack_temp_c": pytest.approx(20.0),
    }
    assert world.source.problem == ""
    assert age(world.source, "parked") < 60.0


def test_a_change_on_the_bus_wakes_and_a_repetition_only_refreshes(world: World) -> None:
    wait_until(lambda: value(world.source, "parked") is True, doing=lambda: send_gear(world.bus, "P"))
    reading = world.source.read(0.0).get("parked")
    assert reading is not None
    rung = world.bell.count

    def is_refreshed() -> bool:
        again = world.source.read(0.0).get("parked")
        return again is not None and again.observed_at > reading.observed_at

    wait_until(is_refreshed, doing=lambda: send_gear(world.bus, "P"))
    assert world.bell.count == rung
    wait_until(lambda: value(world.source, "parked") is False, doing=lambda: send_gear(world.bus, "D2"))
    assert world.bell.count == rung + 1


@pytest.mark.parametrize("gear", ["INIT", "SNA"])
def test_what_the_car_does_not_know_is_unknown(world: World, gear: str) -> None:
    wait_until(lambda: value(world.source, "parked") is True, doing=lambda: send_gear(world.bus, "P"))
    wait_until(lambda: value(world.source, "parked") is None, doing=lambda: send_gear(world.bus, gear))


def test_the_pages_of_a_multiplexed_frame_do_not_hide_each_other(world: World) -> None:
    def send_both() -> None:
        world.send("CABIN", PAGE=0, TEMP=21.5)
        world.send("CABIN", PAGE=1, SEAT=1)

    wait_until(lambda: len(known(world.source)) == 2, doing=send_both)
    for _ in range(3):
        world.send("CABIN", PAGE=1, SEAT=0)
    wait_until(lambda: value(world.source, "user_present") is False)
    assert known(world.source) == {"cabin_temp_c": 21.5, "user_present": False}


def test_a_frame_that_is_too_short_makes_its_signals_unknown(world: World) -> None:
    wait_until(lambda: value(world.source, "soc_pct"), doing=lambda: send_charge(world))
    short = can.Message(arbitration_id=0x18FF0002, is_extended_id=True, data=b"\x02")
    frame_id = world.database.get_message_by_name("CHARGE_STATUS").frame_id
    short.arbitration_id = frame_id
    wait_until(lambda: value(world.source, "soc_pct") is None, doing=lambda: world.bus.send(short))
    assert value(world.source, "plugged_in") is None


def test_only_mapped_frames_pass_the_filter(world: World) -> None:
    with world.source._open() as bus:
        assert bus.filters is not None
        passed = {(each["can_id"], each["can_mask"], each["extended"]) for each in bus.filters}
    charge_id = world.database.get_message_by_name("CHARGE_STATUS").frame_id
    assert passed == {(0x101, 0x7FF, False), (0x302, 0x7FF, False), (charge_id, 0x1FFFFFFF, True)}


def test_the_same_number_as_an_id_of_29_bits_is_another_frame(world: World) -> None:
    other = can.Message(arbitration_id=0x101, is_extended_id=True, data=bytes([4, 0, 0, 0, 0, 0, 0, 0]))
    wait_until(lambda: value(world.source, "parked") is True, doing=lambda: send_gear(world.bus, "P"))
    world.bus.send(other)
    wait_until(lambda: value(world.source, "soc_pct"), doing=lambda: send_charge(world))
    assert value(world.source, "parked") is True


def test_a_silent_bus_leaves_the_last_word_to_grow_old(world: World) -> None:
    wait_until(lambda: value(world.source, "parked") is True, doing=lambda: send_gear(world.bus, "P"))
    wait_until(lambda: age(world.source, "parked") > 0.3)  # all that was sent has been heard by now
    reading = world.source.read(0.0).get("parked")
    wait_until(lambda: age(world.source, "parked") > 0.6)
    assert world.source.read(0.0).get("parked") == reading


def test_a_bus_that_fails_is_opened_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleetclient.vehicle.can_bus.REOPEN_SECONDS_MIN", 0.01)
    wait_until(lambda: value(world.source, "parked") is True, doing=lambda: send_gear(world.bus, "P"))
    [reader] = [each for each in _open_buses() if each is not world.bus]
    reader._open = False  # its next call fails, as that of an interface that was pulled out
    wait_until(lambda: "CAN virtual" in world.source.problem)
    assert value(world.source, "parked") is True
    wait_until(lambda: value(world.source, "parked") is False, doing=lambda: send_gear(world.bus, "D"))
    assert world.source.problem == ""


def _open_buses() -> list[Any]:
    import gc

    from can.interfaces.virtual import VirtualBus

    return [each for each in gc.get_objects() if isinstance(each, VirtualBus) and each._open]


def test_an_interface_that_is_not_there_is_told_and_tried_again(tmp_path: Path) -> None:
    (tmp_path / "car.dbc").write_text(CAR_DBC)
    options = CanOptions(interface="socketcan", channel="nocan7", dbc_file="car.dbc", signals=SIGNALS)
    source = CanSource(options, folder=tmp_path)
    source.start(Bell().ring)
    wait_until(lambda: source.problem.startswith("CAN socketcan nocan7:"))
    assert known(source) == {}
    source.stop()


def test_a_place_on_the_bus_is_not_kept(world: World) -> None:
    def send_place() -> None:
        world.send("GEARBOX", GEAR=1, SPEED=0.0, LATITUDE=48.137154)

    wait_until(lambda: value(world.source, "parked") is True, doing=send_place)
    assert keeps(world.source, "GEARBOX")
    assert 48.137154 not in [each.value for each in world.source.read(0.0).readings.values()]
    assert "LATITUDE" not in {meaning.signal for frame in world.source._frames.values() for meaning in frame.meanings}


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"message": "GEARBOXX"}, "has no message GEARBOXX; did you mean GEARBOX"),
        ({"signal": "GEER"}, r"vehicle.can.signals.parked.signal: GEARBOX has no GEER; did you mean GEAR"),
        ({"when": "== Parked"}, "vehicle.can.signals.parked.when: 'Parked' is no number and no choice"),
        ({"unknown": ("SNAA",)}, "vehicle.can.signals.parked.unknown: 'SNAA'.*did you mean SNA"),
        ({"dbc_file": "other.dbc"}, "dbc_file .*other.dbc cannot be read"),
    ],
)
def test_a_mapping_that_does_not_fit_the_dbc_is_named(tmp_path: Path, change: dict[str, object], error: str) -> None:
    (tmp_path / "car.dbc").write_text(CAR_DBC)
    mapped = {"message": "GEARBOX", "signal": "GEAR", "when": "== P", **change}
    options = CanOptions(dbc_file="car.dbc", signals={"parked": CanSignal(**mapped)})  # type: ignore[arg-type]
    source = CanSource(options, folder=tmp_path)
    with pytest.raises(SourceInvalid, match=error):
        source.start(Bell().ring)
    source.stop()


def test_a_faulty_description_is_named(tmp_path: Path) -> None:
    (tmp_path / "car.dbc").write_text('BO_ 257 GEARBOX: 1 GATEWAY\n SG_ GEAR : 0|3@1+ (1,0) [0|7 "" X\n')
    with pytest.raises(SourceInvalid, match=r"car.dbc: the description of GEARBOX is faulty"):
        load_messages(tmp_path / "car.dbc", {"GEARBOX"})


def test_an_excerpt_has_the_asked_messages_with_their_choices_and_nothing_else() -> None:
    text = excerpt(CAR_DBC, {"GEARBOX"})
    assert "GEAR" in text
    assert "SNA" in text
    assert "CHARGE_STATUS" not in text
    assert "NOISE" not in text
    assert excerpt('BO_ 316495015 FAR: 8 X\n SG_ A : 0|8@1+ (1,0) [0|1] "" X\n', {"FAR"}).count(str(316495015)) == 0


def real_dbc(name: str) -> Path:
    """Return a DBC of the installed data package opendbc, which is never imported."""
    distribution = metadata.distribution("opendbc")
    [path] = [each for each in distribution.files or [] if each.name == name]
    return Path(str(distribution.locate_file(path)))


@pytest.mark.parametrize(
    ("dbc", "signal", "parked", "driving"),
    [
        (
            "vw_meb.dbc",
            CanSignal(message="Getriebe_11", signal="GE_Fahrstufe", when="== P", unknown=("Init", "Fehler")),
            {"GE_Fahrstufe": 5},
            {"GE_Fahrstufe": 9},
        ),
        (
            "tesla_model3_vehicle.dbc",
            CanSignal(message="DI_systemStatus", signal="DI_gear", when="== DI_GEAR_P", unknown=("DI_GEAR_SNA",)),
            {"DI_gear": 1},
            {"DI_gear": 4},
        ),
        (
            "hyundai_canfd.dbc",
            CanSignal(message="GEAR", signal="GEAR", when="== P"),
            {"GEAR": 0},
            {"GEAR": 5},
        ),
    ],
)
def test_real_cars_say_that_they_are_parked(
    dbc: str, signal: CanSignal, parked: dict[str, float], driving: dict[str, float]
) -> None:
    path = real_dbc(dbc)
    options = CanOptions(dbc_file=str(path), signals={"parked": signal})
    [frame] = read_frames(options, folder=Path())
    zeros = dict.fromkeys((each.name for each in frame.message.signals), 0)
    for values, expected in ((parked, True), (driving, False)):
        data = frame.message.encode({**zeros, **values}, scaling=False, strict=False)
        assert decode_frame(frame, data) == {"parked": expected}


def test_a_real_cars_frames_are_heard_on_a_bus(tmp_path: Path) -> None:
    channel = f"bus-{os.urandom(4).hex()}"
    gear = CanSignal(message="Getriebe_11", signal="GE_Fahrstufe", when="== P")
    outside = CanSignal(message="Klima_Sensor_02", signal="BCM1_Aussen_Temp_ungef")
    options = CanOptions(
        interface="virtual",
        channel=channel,
        dbc_file=str(real_dbc("vw_meb.dbc")),
        signals={"parked": gear, "cabin_temp_c": outside},
    )
    source = CanSource(options, folder=tmp_path)
    source.start(Bell().ring)
    with can.Bus(interface="virtual", channel=channel) as bus:
        frames = {frame.message.name: frame.message for frame in source._frames.values()}

        def send_both() -> None:
            for name, values in (
                ("Getriebe_11", {"GE_Fahrstufe": 5}),
                ("Klima_Sensor_02", {"BCM1_Aussen_Temp_ungef": 143}),
            ):
                message = frames[name]
                zeros = dict.fromkeys((each.name for each in message.signals), 0)
                data = message.encode({**zeros, **values}, scaling=False, strict=False)
                bus.send(can.Message(arbitration_id=message.frame_id, is_extended_id=False, data=data))

        wait_until(lambda: known(source) == {"parked": True, "cabin_temp_c": 21.5}, doing=send_both)
    source.stop()


def test_the_agent_pays_for_the_bus_only_when_it_listens_to_one(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from fleetclient.vehicle.factory import make_source;"
        "from fleetclient.vehicle.options import *;"
        "make_source(VehicleOptions(source='teslamate'), folder=Path(), began_at=0.0);"
        "heavy = {'can', 'cantools', 'numpy', 'onnxruntime', 'tuf', 'csv'} & set(sys.modules);"
        "assert not heavy, heavy; print('light')"
    )
    client = Path(__file__).parents[3] / "client"
    environment = {**os.environ, "PYTHONPATH": str(client)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "light\n", done.stderr


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_on_the_bus_that_is_none_is_unknown_and_not_different(number: float) -> None:
    meaning = Meaning(
        name="plugged_in",
        signal="Cable",
        compare=operator.ne,
        choices=(0.0,),
        unknown=frozenset(),
        scale=1.0,
        offset=0.0,
    )
    assert meaning.read(1.0) is True
    assert meaning.read(number) is None
