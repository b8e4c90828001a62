"""Options that cannot work are refused by name, and each kind of source is the one that was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetclient.vehicle.bus_options import CanOptions, CanSignal
from fleetclient.vehicle.checks import SourceInvalid
from fleetclient.vehicle.factory import make_source
from fleetclient.vehicle.mqtt_options import MqttOptions, MqttSignal, TeslamateOptions
from fleetclient.vehicle.options import FileOptions, SimulationOptions, VehicleOptions
from tests.client.vehicle.hearing import Bell, known, wait_until

TOPIC = MqttSignal(topic="car/plug")
FRAME = CanSignal(message="GEARBOX", signal="GEAR", when="== P", dbc_file="car.dbc")


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: VehicleOptions(source="tesla"), "source must be one of .*teslamate.*, not 'tesla'"),
        (lambda: VehicleOptions(away_reason="holiday"), "away_reason must be one of"),
        (lambda: VehicleOptions(away=((5.0, 5.0),)), "away: each absence must end after it starts"),
        (lambda: VehicleOptions(start_delay_seconds=-1.0), "start_delay_seconds must be from 0"),
        (lambda: VehicleOptions(assume_no=("user_present",)), "assume_no must be one of updating, sentry_on, charging"),
        (lambda: VehicleOptions(source="file"), "file.document_file is missing"),
        (lambda: VehicleOptions(source="mqtt"), "mqtt.signals is empty"),
        (lambda: VehicleOptions(source="can"), "can.signals is empty"),
        (lambda: FileOptions(document_file="a", stdin=True), "stdin and document_file exclude each other"),
        (lambda: FileOptions(poll_seconds=float("nan")), "poll_seconds must be"),
        (lambda: SimulationOptions(speed=0.0), "speed must be from"),
        (lambda: SimulationOptions(start="tomorrow"), "start must be a local time"),
        (lambda: SimulationOptions(start="2026-01-05T10:00+01:00"), "start must be a local time"),
        (lambda: SimulationOptions(warmest_c=0.0, coldest_c=5.0), "coldest_c must be"),
        (lambda: TeslamateOptions(host=""), "host is missing"),
        (lambda: TeslamateOptions(port=0), "port must be from 1 to 65535"),
        (lambda: TeslamateOptions(password_file="secret"), "username is missing"),
        (lambda: TeslamateOptions(ca_file="ca.pem"), "ca_file needs tls"),
        (lambda: TeslamateOptions(namespace="garage/#"), "namespace must be one MQTT topic"),
        (lambda: TeslamateOptions(home_names=("Home", " ")), "home_names has an empty name"),
        (lambda: MqttOptions(signals={"plugd_in": TOPIC}), "signals.plugd_in is not a signal; did you mean plugged_in"),
        (lambda: MqttOptions(signals={"parked": MqttSignal()}), "signals.parked.topic must be one MQTT topic"),
        (lambda: MqttOptions(signals={"parked": MqttSignal(topic="car/+")}), "signals.parked.topic must be one"),
        (lambda: MqttOptions(signals={"parked": MqttSignal(topic="t", on="x", off="X")}), "must differ"),
        (lambda: MqttOptions(signals={"soc_pct": MqttSignal(topic="t", invert=True)}), "signals.soc_pct is a number"),
        (lambda: MqttOptions(retained="yes"), "retained must be one of stale, fresh"),
        (lambda: MqttOptions(is_last_will=True), "is_last_will needs availability_topic"),
        (lambda: CanOptions(signals={"gear": FRAME}), "signals.gear is not a signal"),
        (lambda: CanOptions(signals={"parked": CanSignal(signal="GEAR")}), "signals.parked.message is missing"),
        (
            lambda: CanOptions(signals={"parked": CanSignal(message="A", signal="B", when="== P")}),
            "dbc_file is missing",
        ),
        (
            lambda: CanOptions(dbc_file="x", signals={"parked": CanSignal(message="A", signal="B", when="P")}),
            "signals.parked.when must be a comparison",
        ),
        (
            lambda: CanOptions(dbc_file="x", signals={"soc_pct": CanSignal(message="A", signal="B", when="> 1")}),
            "signals.soc_pct is a number",
        ),
    ],
)
def test_options_that_cannot_work_are_refused_by_name(make: object, error: str) -> None:
    with pytest.raises(SourceInvalid, match=error):
        make()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (VehicleOptions(), "SilentSource"),
        (VehicleOptions(source="simulated"), "ScriptedSource"),
        (VehicleOptions(source="scripted", simulation=SimulationOptions(seed=5)), "ScriptedSource"),
        (VehicleOptions(source="simulated", simulation=SimulationOptions(seed=5)), "SimulatedSource"),
        (VehicleOptions(source="file", file=FileOptions(document_file="car.json")), "FileSource"),
        (VehicleOptions(source="teslamate"), "TeslamateSource"),
        (VehicleOptions(source="mqtt", mqtt=MqttOptions(signals={"parked": TOPIC})), "MqttSource"),
        (VehicleOptions(source="can", can=CanOptions(signals={"parked": FRAME})), "CanSource"),
    ],
)
def test_the_source_asked_for_is_made(options: VehicleOptions, kind: str, tmp_path: Path) -> None:
    source = make_source(options, folder=tmp_path, began_at=0.0)
    assert type(source).__name__ == kind
    source.stop()


def test_what_a_car_cannot_tell_is_no_where_its_owner_says_so_and_what_it_does_tell_counts(tmp_path: Path) -> None:
    file = FileOptions(document_file="car.json", poll_seconds=0.01)
    options = VehicleOptions(source="file", file=file, assume_no=("updating", "sentry_on"))
    source = make_source(options, folder=tmp_path, began_at=0.0)
    source.start(Bell().ring)
    assert known(source) == {"updating": False, "sentry_on": False}
    (tmp_path / "car.json").write_text('{"updating": true, "sentry_on": null}')
    wait_until(lambda: known(source) == {"updating": True})
    source.stop()
