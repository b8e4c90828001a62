"""The log: its lines, its files, and that no secret, place or network's name is ever in them."""

from __future__ import annotations

import io
import json
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetclient.config import parse_config
from fleetclient.logs import Log, RotatingFile, list_log_files, open_log
from fleetclient.redaction import HIDDEN, Redactor

PASSWORD = "correct horse battery"
SSID = "Villa Kunterbunt 5G"
LATITUDE, LONGITUDE = 52.520008, 13.404954


def line_of(**fields: object) -> dict[str, object]:
    stream = io.StringIO()
    Log(stream=stream, car="Blue").info("happened", **fields)
    document: dict[str, object] = json.loads(stream.getvalue())
    return document


def test_a_line_says_when_what_and_which_car() -> None:
    line = line_of(code="soc_low", rows=3, done=None, names=["a", "b"])
    assert list(line)[:4] == ["ts", "level", "event", "car"]
    assert line | {"ts": ""} == {
        "ts": "", "level": "info", "event": "happened", "car": "Blue", "code": "soc_low", "rows": 3, "done": None,
        "names": ["a", "b"],
    }  # fmt: skip


def test_people_can_have_lines_without_braces() -> None:
    stream = io.StringIO()
    Log(stream=stream, format="text").warning("sync_failed", code="unreachable", seconds=2.5)
    assert stream.getvalue().split(" ", 1)[1] == 'WARNING sync_failed code="unreachable" seconds=2.5\n'


def test_only_what_is_important_enough_is_written() -> None:
    stream = io.StringIO()
    log = Log(stream=stream, level="warning")
    log.debug("a")
    log.info("b")
    assert stream.getvalue() == ""
    log.set_level("debug")
    log.debug("c")
    assert json.loads(stream.getvalue())["event"] == "c"


def test_a_stream_that_is_closed_stops_nothing() -> None:
    stream = io.StringIO()
    log = Log(stream=stream)
    stream.close()
    log.error("happened")


@pytest.mark.parametrize(
    "fields",
    [
        {"password": PASSWORD},
        {"mqtt_password": PASSWORD},
        {"options": {"inner": {"client_secret": PASSWORD}}},
        {"device_code": PASSWORD},
        {"private_key": PASSWORD},
        {"error": f"cannot reach mqtt://car:{PASSWORD.replace(' ', '')}@broker:1883"},
        {"error": f"http://{PASSWORD.replace(' ', '-')}@proxy:3128 refused"},
        {"latitude": LATITUDE, "longitude": LONGITUDE},
        {"location": {"lat": LATITUDE, "lon": LONGITUDE}},
        {"geofence": "Home"},
        {"payload": f'{{"latitude": {LATITUDE}, "longitude": {LONGITUDE}}}'},
        {"error": f"bad payload {LATITUDE}, {LONGITUDE}"},
        {"error": f"bad payload lat={LATITUDE} lon={LONGITUDE}"},
        {"at": [f"{LATITUDE},{LONGITUDE}"]},
        {"ssid": SSID},
        {"home": {"network_name": SSID}},
    ],
)
def test_secrets_places_and_networks_are_not_in_a_line(fields: dict[str, object]) -> None:
    line = json.dumps(line_of(**fields))
    for secret in (
        PASSWORD,
        PASSWORD.replace(" ", ""),
        PASSWORD.replace(" ", "-"),
        SSID,
        "52.520008",
        "13.404954",
        "Home",
    ):
        assert secret not in line


def test_a_network_is_the_same_hash_in_one_process_and_another_in_the_next() -> None:
    first, second = Redactor(), Redactor()
    assert first.hash_network(SSID) == first.hash_network(SSID)
    assert first.hash_network(SSID) != first.hash_network("other")
    assert first.hash_network(SSID) != second.hash_network(SSID)


def test_only_the_beginning_of_a_token_is_shown() -> None:
    assert line_of(token="abcdefghijklmnopqrstuv")["token"] == "abcdefgh"


def test_ordinary_values_are_left_alone() -> None:
    fields = {
        "sha256": "ab" * 32,
        "seconds": 1.234,
        "text": "row 384 of 1024 at 12.5 rows/s, 0.75 s",
        "password_file": "/x",
    }
    line = line_of(**fields)
    assert {name: line[name] for name in fields} == fields


def make_config(folder: Path, **more: object) -> object:
    secret = folder / "mqtt-password"
    secret.write_text("from the file\n")
    secret.chmod(0o600)
    document = {
        "server": "https://fleet.example",
        "log_file": "car.log",
        "network": {"allowed_ssids": [SSID], "allowed_gateways": ["aa:bb:cc:dd:ee:ff"]},
        "vehicle": {"source": "teslamate", "teslamate": {"username": "car", "password_file": "mqtt-password"}},
        "home_assistant": {"password": PASSWORD},
        **more,
    }
    return parse_config(document, folder=folder)


def test_the_log_of_a_car_knows_what_its_owner_wants_hidden(tmp_path: Path) -> None:
    log = open_log(make_config(tmp_path))  # type: ignore[arg-type]
    log.error("failed", error=f"joined {SSID} by aa:bb:cc:dd:ee:ff with {PASSWORD} and from the file")
    text = (tmp_path / "car.log").read_text()
    for secret in (SSID, PASSWORD, "from the file", "aa:bb:cc:dd:ee:ff"):
        assert secret not in text
    assert text.count(HIDDEN) == 3
    assert "ssid:" in text


@given(
    name=st.text(max_size=20),
    value=st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=10,
    ),
)
def test_anything_can_be_logged_and_a_hidden_text_is_never_in_it(name: str, value: object) -> None:
    redactor = Redactor()
    redactor.hide(PASSWORD)
    json.dumps(redactor.redact(value, name=name), default=str)
    assert PASSWORD not in json.dumps(redactor.redact({name: [value, f"x{PASSWORD}y"]}), default=str)


def test_a_log_file_is_closed_to_others_and_never_grows_over_its_size(tmp_path: Path) -> None:
    path = tmp_path / "log" / "car.log"
    stream = RotatingFile(path, bytes_max=1000, files_kept=2)
    for number in range(100):
        stream.write(f"{number:099}\n")
    files = list_log_files(path)
    assert [file.name for file in files] == ["car.log.2", "car.log.1", "car.log"]
    assert all(file.stat().st_size <= 1000 for file in files)
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    numbers = [int(line) for file in files for line in file.read_text().splitlines()]
    assert numbers == list(range(numbers[0], 100))


def test_a_log_file_goes_on_where_an_earlier_process_stopped(tmp_path: Path) -> None:
    path = tmp_path / "car.log"
    RotatingFile(path, bytes_max=1000).write("first\n")
    RotatingFile(path, bytes_max=1000).write("second\n")
    assert path.read_text() == "first\nsecond\n"


def test_no_older_file_is_kept_when_none_is_wanted(tmp_path: Path) -> None:
    path = tmp_path / "car.log"
    stream = RotatingFile(path, bytes_max=100, files_kept=0)
    for _ in range(10):
        stream.write("x" * 59 + "\n")
    assert [file.name for file in tmp_path.iterdir()] == ["car.log"]
    assert path.stat().st_size == 60
