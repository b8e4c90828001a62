"""Home Assistant's kind of topics over a real broker, by a mapping."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from bench.measure.mqtt_broker import BrokerSettings, MqttBroker, start_broker
from fleetclient.vehicle.checks import SourceInvalid
from fleetclient.vehicle.json_path import find_value
from fleetclient.vehicle.mqtt import MqttSource, read_signal
from fleetclient.vehicle.mqtt_options import MqttOptions, MqttSignal
from tests.client.vehicle.hearing import Bell, Publisher, keeps, known, value, wait_until
from tests.client.vehicle.relay import Relay

STALE_SECONDS = 900.0
SIGNALS = {
    "plugged_in": MqttSignal(topic="home/charger", on="ON", off="OFF"),
    "soc_pct": MqttSignal(topic="home/car", path="value_json.battery.level"),
}


class Clock:
    """The boot clock of a source, moved by hand."""

    def __init__(self) -> None:
        self.now = 100_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def listen(broker: MqttBroker, clock: Clock) -> Iterator[Callable[..., MqttSource]]:
    made: list[MqttSource] = []

    def start(bell: Bell | None = None, **options: object) -> MqttSource:
        options = {"host": broker.host, "port": broker.port, "signals": SIGNALS, **options}
        made.append(MqttSource(MqttOptions(**options), clock=clock))  # type: ignore[arg-type]
        made[-1].start((bell or Bell()).ring)
        return made[-1]

    yield start
    for each in made:
        each.stop()


def age_at(source: MqttSource, name: str, now: float) -> float:
    reading = source.read(now).get(name)
    assert reading is not None
    return now - reading.observed_at


@pytest.mark.parametrize(
    ("name", "signal", "payload", "expected"),
    [
        ("parked", {}, "on", True),
        ("parked", {}, "OFF", False),
        ("parked", {}, "unavailable", None),
        ("parked", {}, "", None),
        ("parked", {"on": "P", "off": "D"}, " p ", True),
        ("parked", {"invert": True}, "on", False),
        ("parked", {"invert": True}, "off", True),
        ("parked", {"invert": True}, "unknown", None),
        ("parked", {"path": "moving", "invert": True}, '{"moving": false}', True),
        ("parked", {"path": "moving", "invert": True}, '{"moving": "on"}', False),
        ("parked", {"path": "moving"}, "{}", None),
        ("parked", {"numeric": True, "invert": True}, "0", True),
        ("parked", {"numeric": True, "invert": True}, "12.5", False),
        ("parked", {"numeric": True}, "nan", None),
        ("charging", {"path": "value_json.power", "numeric": True}, '{"power": 7.2}', True),
        ("charging", {"path": "value_json.power", "numeric": True}, '{"power": true}', True),
        ("soc_pct", {}, "81.5", 81.5),
        ("soc_pct", {"scale": 100.0}, "0.815", 81.5),
        ("soc_pct", {"path": "value_json.battery.1"}, '{"battery": [0, 55]}', 55.0),
        ("soc_pct", {"path": "value_json.battery.7"}, '{"battery": [0, 55]}', None),
        ("soc_pct", {}, "101", None),
        ("soc_pct", {}, "unknown", None),
        ("soc_pct", {"path": "x"}, '{"x": true}', None),
        ("soc_pct", {"path": "x"}, "not json", None),
        ("cabin_temp_c", {"scale": 5 / 9, "offset": -160 / 9}, "68", 20.0),
    ],
)
def test_a_message_means_what_its_mapping_says(
    name: str, signal: dict[str, object], payload: str, expected: object
) -> None:
    told = read_signal(name, payload, MqttSignal(topic="t", **signal))  # type: ignore[arg-type]
    assert told == (pytest.approx(expected) if isinstance(expected, float) else expected)
    assert type(told) is type(expected)


@given(payload=st.text(max_size=60), path=st.sampled_from(["", "value_json", "a.b", "0"]), numeric=st.booleans())
def test_no_message_is_an_error(payload: str, path: str, numeric: bool) -> None:
    told = read_signal("parked", payload, MqttSignal(topic="t", path=path, numeric=numeric))
    assert told is None or isinstance(told, bool)


def test_a_path_may_name_the_whole_message() -> None:
    assert find_value("42", "value_json") == 42


def test_a_live_message_is_heard_and_wakes(publisher: Publisher, listen: Callable[..., MqttSource]) -> None:
    bell = Bell()
    source = listen(bell)
    wait_until(
        lambda: value(source, "plugged_in") is True, doing=lambda: publisher.say("home/charger", "ON", retain=False)
    )
    rung = bell.count
    publisher.say("home/car", '{"battery": {"level": 77}, "gps": [48.137154, 11.576124]}', retain=False)
    wait_until(lambda: value(source, "soc_pct") == 77.0)
    assert bell.count > rung
    assert source.problem == ""


def test_a_retained_message_is_stale_until_the_topic_speaks(
    publisher: Publisher, listen: Callable[..., MqttSource], clock: Clock
) -> None:
    publisher.say("home/charger", "ON", retain=True)
    source = listen()
    wait_until(lambda: value(source, "plugged_in") is True)
    assert age_at(source, "plugged_in", clock.now) > STALE_SECONDS
    publisher.say("home/charger", "ON", retain=True)  # to whoever listens already, this is news
    wait_until(lambda: age_at(source, "plugged_in", clock.now) == 0.0)


def test_a_retained_message_is_fresh_where_the_owner_says_so(
    publisher: Publisher, listen: Callable[..., MqttSource], clock: Clock
) -> None:
    publisher.say("home/charger", "ON", retain=True)
    source = listen(retained="fresh")
    wait_until(lambda: value(source, "plugged_in") is True)
    assert age_at(source, "plugged_in", clock.now) == 0.0
    assert age_at(source, "plugged_in", clock.now + 100.0) == 100.0


def test_after_a_break_a_retained_message_can_take_a_yes_away_but_not_make_it_younger(
    relay: Relay, publisher: Publisher, listen: Callable[..., MqttSource], clock: Clock
) -> None:
    source = listen(port=relay.port)
    wait_until(
        lambda: value(source, "plugged_in") and age_at(source, "plugged_in", clock.now) == 0.0,
        doing=lambda: publisher.say("home/charger", "ON"),
    )
    relay.cut()
    wait_until(lambda: source.problem.startswith("MQTT"))
    clock.now += 60.0
    publisher.say("home/car", '{"battery": {"level": 5}}')
    relay.mend()
    wait_until(lambda: value(source, "soc_pct") == 5.0)
    assert age_at(source, "plugged_in", clock.now) == 60.0
    relay.cut()
    wait_until(lambda: source.problem.startswith("MQTT"))
    publisher.say("home/charger", "OFF")
    relay.mend()
    wait_until(lambda: value(source, "plugged_in") is False)
    assert age_at(source, "plugged_in", clock.now) > STALE_SECONDS


def test_nothing_is_known_unless_the_device_is_there(publisher: Publisher, listen: Callable[..., MqttSource]) -> None:
    bell = Bell()
    publisher.say("home/charger", "ON")
    source = listen(bell, availability_topic="home/status", retained="fresh")
    wait_until(lambda: source._board.read().get("plugged_in"))
    assert known(source) == {}
    assert "home/status has said nothing yet" in source.problem
    publisher.say("home/status", "online")
    wait_until(lambda: known(source) == {"plugged_in": True})
    rung = bell.count
    publisher.say("home/status", "offline")
    wait_until(lambda: known(source) == {})
    assert bell.count > rung
    assert "away" in source.problem
    publisher.say("home/status", "online")
    wait_until(lambda: not source.problem.startswith("home/status"))
    assert known(source) == {}  # what it said before it went is forgotten
    publisher.say("home/charger", "OFF")
    wait_until(lambda: known(source) == {"plugged_in": False})


def test_a_last_will_keeps_values_fresh_while_the_connection_stands(
    relay: Relay, publisher: Publisher, listen: Callable[..., MqttSource], clock: Clock
) -> None:
    publisher.say("home/charger", "ON")
    publisher.say("home/status", "online")
    source = listen(port=relay.port, availability_topic="home/status", is_last_will=True)
    wait_until(lambda: value(source, "plugged_in") is True)
    clock.now += 7200.0
    assert age_at(source, "plugged_in", clock.now) == 0.0
    relay.cut()
    wait_until(lambda: age_at(source, "plugged_in", clock.now + 60.0) == 60.0)
    assert value(source, "plugged_in") is True
    clock.now += 60.0
    relay.mend()
    wait_until(lambda: age_at(source, "plugged_in", clock.now) == 0.0)


def test_of_a_message_that_says_where_the_car_is_only_the_mapped_place_is_kept(
    publisher: Publisher, listen: Callable[..., MqttSource]
) -> None:
    where = '{"battery": {"level": %d}, "latitude": 48.137154, "longitude": 11.576124}'
    source = listen()
    publisher.say("home/location", "48.137154,11.576124")
    for level in (50, 51):
        wait_until(
            lambda: value(source, "soc_pct") == float(level),  # noqa: B023 - called before the next round
            doing=lambda: publisher.say("home/car", where % level),  # noqa: B023
        )
    publisher.say("home/charger", "ON")
    wait_until(lambda: value(source, "plugged_in") is True)
    assert keeps(source, "home/charger")
    assert not keeps(source, "48.13715")
    assert source.topics == ["home/car", "home/charger"]


def test_a_broker_with_a_certificate_of_its_own_is_reached_by_its_authority_only(tmp_path: Path) -> None:
    make_certificate(tmp_path)
    settings = BrokerSettings(certificate_file=str(tmp_path / "broker.pem"), key_file=str(tmp_path / "broker.key"))
    with start_broker(settings) as broker:

        def make(**more: str) -> MqttSource:
            options = MqttOptions(host=broker.host, port=broker.port, tls=True, signals=SIGNALS, **more)  # type: ignore[arg-type]
            return MqttSource(options, folder=tmp_path)

        trusting, distrusting = make(ca_file="broker.pem"), make()
        trusting.start(Bell().ring)
        distrusting.start(Bell().ring)
        wait_until(lambda: "nothing heard yet" in trusting.problem)
        wait_until(lambda: "cannot be reached" in distrusting.problem)
        trusting.stop()
        distrusting.stop()


def make_certificate(folder: Path) -> None:
    """Write a certificate for 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "broker")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "broker.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "broker.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def test_a_password_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("open sesame")
    (tmp_path / "password").chmod(0o644)
    source = MqttSource(MqttOptions(username="car", password_file="password", signals=SIGNALS), folder=tmp_path)
    with pytest.raises(SourceInvalid, match="chmod 600") as refusal:
        source.start(Bell().ring)
    assert "sesame" not in str(refusal.value)
    source.stop()


def test_a_password_file_that_is_missing_is_named(tmp_path: Path) -> None:
    source = MqttSource(MqttOptions(username="car", password_file="password", signals=SIGNALS), folder=tmp_path)
    with pytest.raises(SourceInvalid, match=r"password_file .*password cannot be read"):
        source.start(Bell().ring)
