"""TeslaMate over a real broker: freshness is its pulse, not its retained topics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.measure.mqtt_broker import BrokerSettings, MqttBroker
from fleetclient.vehicle.mqtt_options import TeslamateOptions
from fleetclient.vehicle.teslamate import TeslamateSource
from tests.client.vehicle.hearing import Bell, Publisher, age, keeps, known, value, wait_until
from tests.client.vehicle.relay import Relay
from tests.client.vehicle.test_teslamate_signals import PARKED_AT_HOME

CAR = "teslamate/cars/1/"


class Clock:
    """The boot clock of a source, moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class TeslaMate:
    """TeslaMate's publisher: values retained, the pulse not."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    def publish(self, **values: str) -> None:
        for key, text in values.items():
            self._publisher.say(CAR + key, text)

    def pulse(self, healthy: str = "true") -> None:
        self._publisher.say(f"{CAR}healthy", healthy, retain=False)

    def restart(self) -> None:
        self._publisher.say(f"{CAR}healthy", "", retain=True)


@pytest.fixture
def teslamate(publisher: Publisher) -> TeslaMate:
    return TeslaMate(publisher)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def listen(broker: MqttBroker, clock: Clock) -> Iterator[Callable[..., TeslamateSource]]:
    made: list[TeslamateSource] = []

    def start(bell: Bell | None = None, **options: object) -> TeslamateSource:
        options = {"host": broker.host, "port": broker.port, **options}
        made.append(TeslamateSource(TeslamateOptions(**options), clock=clock))  # type: ignore[arg-type]
        made[-1].start((bell or Bell()).ring)
        return made[-1]

    yield start
    for each in made:
        each.stop()


def hear_pulse(source: TeslamateSource, teslamate: TeslaMate) -> None:
    wait_until(lambda: value(source, "parked") is True, doing=teslamate.pulse)


def observed_at(source: TeslamateSource, name: str) -> float:
    reading = source.read(0.0).get(name)
    assert reading is not None
    return reading.observed_at


def heard_from_broker(source: TeslamateSource) -> bool:
    """Tell that the retained topics have arrived: what they say is not yet believed."""
    return set(source._said) == {key for key, text in PARKED_AT_HOME.items() if text}


def test_retained_topics_alone_say_nothing_and_the_first_pulse_makes_them_count(
    teslamate: TeslaMate, listen: Callable[..., TeslamateSource], clock: Clock
) -> None:
    teslamate.publish(**PARKED_AT_HOME)
    source = listen()
    wait_until(lambda: heard_from_broker(source))
    assert known(source) == {}
    assert "healthy" in source.problem
    clock.now = 1234.0
    hear_pulse(source, teslamate)
    assert value(source, "plugged_in") is True
    assert observed_at(source, "plugged_in") == 1234.0
    assert source.problem == ""


def test_a_retained_pulse_of_an_old_teslamate_is_no_pulse(
    teslamate: TeslaMate, publisher: Publisher, listen: Callable[..., TeslamateSource]
) -> None:
    publisher.say(f"{CAR}healthy", "true", retain=True)
    teslamate.publish(**PARKED_AT_HOME)
    source = listen()
    wait_until(lambda: heard_from_broker(source))
    assert known(source) == {}


def test_an_unchanged_value_is_as_fresh_as_the_last_pulse(
    teslamate: TeslaMate, listen: Callable[..., TeslamateSource], clock: Clock
) -> None:
    teslamate.publish(**PARKED_AT_HOME)
    source = listen()
    hear_pulse(source, teslamate)
    clock.now = 5000.0
    assert observed_at(source, "plugged_in") == 1000.0
    wait_until(lambda: observed_at(source, "plugged_in") == 5000.0, doing=teslamate.pulse)


def test_a_sick_teslamate_knows_nothing_until_it_is_well_again(
    teslamate: TeslaMate, listen: Callable[..., TeslamateSource]
) -> None:
    bell = Bell()
    teslamate.publish(**PARKED_AT_HOME)
    source = listen(bell)
    hear_pulse(source, teslamate)
    rung = bell.count
    wait_until(lambda: known(source) == {}, doing=lambda: teslamate.pulse("false"))
    assert bell.count > rung
    assert "healthy is false" in source.problem
    teslamate.publish(inside_temp="20")
    assert known(source) == {}
    hear_pulse(source, teslamate)


def test_a_teslamate_that_restarts_is_believed_what_it_says_anew_and_no_more(
    teslamate: TeslaMate, listen: Callable[..., TeslamateSource]
) -> None:
    teslamate.publish(**PARKED_AT_HOME)
    source = listen()
    hear_pulse(source, teslamate)
    teslamate.restart()
    wait_until(lambda: known(source) == {})
    # The car sleeps, so TeslaMate knows neither its gear nor its cable; the broker still has both.
    teslamate.publish(state="asleep", usable_battery_level="70")
    hear_pulse(source, teslamate)
    assert value(source, "soc_pct") == 70.0
    assert value(source, "plugged_in") is None


def test_driving_off_is_heard_at_once(teslamate: TeslaMate, listen: Callable[..., TeslamateSource]) -> None:
    bell = Bell()
    teslamate.publish(**PARKED_AT_HOME)
    source = listen(bell)
    hear_pulse(source, teslamate)
    rung = bell.count
    teslamate.publish(state="driving", shift_state="D")
    wait_until(lambda: value(source, "parked") is False)
    assert bell.count > rung


def test_a_broken_connection_lets_values_grow_old_and_neither_wipes_nor_refreshes_them(
    relay: Relay, teslamate: TeslaMate, listen: Callable[..., TeslamateSource], clock: Clock
) -> None:
    teslamate.publish(**PARKED_AT_HOME)
    source = listen(port=relay.port)
    hear_pulse(source, teslamate)
    relay.cut()
    wait_until(lambda: source.problem.startswith("MQTT"))
    clock.now = 9000.0
    told = known(source)
    assert told["plugged_in"] is True
    assert observed_at(source, "plugged_in") == 1000.0
    teslamate.publish(inside_temp="3")
    teslamate.pulse()
    relay.mend()
    wait_until(lambda: value(source, "cabin_temp_c") == 3.0)
    assert known(source) == {**told, "cabin_temp_c": 3.0}
    assert observed_at(source, "cabin_temp_c") == 1000.0  # retained: as old as what was known before
    wait_until(lambda: observed_at(source, "plugged_in") == 9000.0, doing=teslamate.pulse)
    assert known(source) == {**told, "cabin_temp_c": 3.0}


def test_what_the_broker_lost_while_the_connection_was_broken_is_unknown_and_not_refreshed(
    relay: Relay, teslamate: TeslaMate, listen: Callable[..., TeslamateSource], clock: Clock
) -> None:
    teslamate.publish(**PARKED_AT_HOME)
    source = listen(port=relay.port)
    hear_pulse(source, teslamate)
    relay.cut()
    wait_until(lambda: source.problem.startswith("MQTT"))
    teslamate.publish(plugged_in="", state="charging")
    clock.now = 9000.0
    relay.mend()
    wait_until(lambda: observed_at(source, "parked") == 9000.0, doing=teslamate.pulse)
    assert value(source, "parked") is True
    assert value(source, "plugged_in") is None


def test_only_the_named_car_in_the_namespace_is_heard(
    publisher: Publisher, listen: Callable[..., TeslamateSource]
) -> None:
    source = listen(car_id=7, namespace="garage")
    for prefix in ("teslamate/cars/7/", "teslamate/garage/cars/1/", "teslamate/garage/cars/7/"):
        publisher.say(f"{prefix}state", "online")
    publisher.say("teslamate/cars/7/shift_state", "P")
    publisher.say("teslamate/garage/cars/1/shift_state", "P")
    publisher.say("teslamate/garage/cars/7/shift_state", "D")
    wait_until(
        lambda: value(source, "parked") is False,
        doing=lambda: publisher.say("teslamate/garage/cars/7/healthy", "true", retain=False),
    )
    assert all(topic.startswith("teslamate/garage/cars/7/") for topic in source.topics)


def test_the_place_of_the_car_never_enters(
    teslamate: TeslaMate, publisher: Publisher, listen: Callable[..., TeslamateSource]
) -> None:
    where = '{"latitude": 48.137154, "longitude": 11.576124}'
    teslamate.publish(**PARKED_AT_HOME, location=where, latitude="48.137154", longitude="11.576124", active_route=where)
    source = listen()
    hear_pulse(source, teslamate)
    teslamate.publish(location=where, latitude="48.137154", heading="271")
    publisher.say(CAR + "geofence", "🏡 Home", retain=True)
    hear_pulse(source, teslamate)
    assert keeps(source, "online")  # so that a place would be found, were it kept
    assert not keeps(source, "48.13715")
    assert not keeps(source, "11.57612")


def test_a_broker_that_asks_for_a_password_gets_it_from_a_private_file(tmp_path: Path) -> None:
    from bench.measure.mqtt_broker import hash_password, start_broker

    (tmp_path / "users").write_text(f"car:{hash_password('open sesame')}\n")
    (tmp_path / "password").write_text("open sesame\n")
    (tmp_path / "password").chmod(0o600)
    (tmp_path / "wrong").write_text("open barley\n")
    (tmp_path / "wrong").chmod(0o600)
    with start_broker(BrokerSettings(password_file=str(tmp_path / "users"))) as guarded:

        def make(password_file: str) -> TeslamateSource:
            options = TeslamateOptions(
                host=guarded.host, port=guarded.port, username="car", password_file=password_file
            )
            return TeslamateSource(options, folder=tmp_path)

        welcome, unwelcome = make("password"), make("wrong")
        welcome.start(Bell().ring)
        unwelcome.start(Bell().ring)
        wait_until(lambda: "healthy" in welcome.problem)
        wait_until(lambda: "refuses the connection" in unwelcome.problem)
        assert "barley" not in unwelcome.problem
        welcome.stop()
        unwelcome.stop()


def test_age_is_counted_on_the_boot_clock(broker: MqttBroker, teslamate: TeslaMate) -> None:
    source = TeslamateSource(TeslamateOptions(host=broker.host, port=broker.port))
    source.start(Bell().ring)
    teslamate.publish(**PARKED_AT_HOME)
    hear_pulse(source, teslamate)
    assert 0.0 <= age(source, "parked") < 60.0
    source.stop()
