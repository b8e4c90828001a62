"""The support bundle: what is in it, that its list comes first, and that nothing secret is in any of its bytes."""

from __future__ import annotations

import json
import stat
import time
import zipfile
from pathlib import Path

import pytest

from fleetclient.config import Request, load
from fleetclient.identity import Identity
from fleetclient.logs import open_log
from fleetclient.state import StateFolder
from fleetclient.support_bundle import ask_and_write
from tests.client.operation.sample import make_status

PASSWORD = "correct-horse-battery"
FILE_PASSWORD = "from-the-file-9"
SSID = "Villa Kunterbunt"
OTHER_SSID = "Neighbour 5G"
PLACE = "52.520008, 13.404954"
DEVICE_CODE = "device-code-that-is-secret"


@pytest.fixture(scope="module")
def car_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A paired car with a log, a status and a configuration full of what must stay here."""
    tmp_path = tmp_path_factory.mktemp("car")
    (tmp_path / "mqtt-password").write_text(FILE_PASSWORD)
    (tmp_path / "mqtt-password").chmod(0o600)
    file = tmp_path / "car.toml"
    file.write_text(
        f'''
server = "http://127.0.0.1:1"
state_dir = "state"
log_file = "car.log"
[network]
allowed_ssids = ["{SSID}"]
allowed_gateways = ["aa:bb:cc:dd:ee:ff"]
[home_assistant]
enabled = true
host = "127.0.0.1"
username = "car-user"
password = "{PASSWORD}"
[vehicle]
source = "scripted"
[vehicle.teslamate]
port = 1
username = "tesla-user"
password_file = "mqtt-password"
home_names = ["Dornröschenweg"]
'''
    )
    file.chmod(0o600)
    request = Request(file=file, environment={"HOME": str(tmp_path)})
    config = load(request).config
    Identity(config.state_dir / "identity").remember_pairing(vehicle_id="veh_1", director_key=b"\7" * 32)
    gates = [
        {
            "name": "home_network",
            "open": False,
            "reason": "not_home_wifi",
            "detail": f"not on {OTHER_SSID}",
            "until": None,
        }
    ]
    status = make_status(
        gates=gates, reasons=["not_home_wifi"], sentence=f"Waiting: not on {OTHER_SSID}.",
        error={"at": time.time(), "code": "x", "text": f"mqtt://car:{PASSWORD}@broker at {PLACE}"},
    )  # fmt: skip
    StateFolder(config.state_dir).write_status(status)
    log = open_log(config)
    log.error("failed", device_code=DEVICE_CODE, error=f"{PASSWORD} {FILE_PASSWORD} {SSID} {PLACE}", ssid=SSID)
    with (tmp_path / "car.log").open("a") as appended:  # a line that an older version wrote, and half a line
        appended.write(
            f'{{"event": "old", "password": "{PASSWORD}", "location": "{PLACE}"}}\n{{"error": "{SSID} {PLACE}'
        )
    path = ask_and_write(request, output=tmp_path / "bundle.zip", yes=True)
    assert path == tmp_path / "bundle.zip"
    return tmp_path


def read(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_nothing_secret_is_in_any_file_of_the_bundle(car_folder: Path) -> None:
    texts = read(car_folder / "bundle.zip")
    key = (car_folder / "state" / "identity" / "key").read_bytes()
    secrets = (
        PASSWORD, FILE_PASSWORD, SSID, OTHER_SSID, "52.520008", "13.404954", DEVICE_CODE, "Dornröschenweg",
        "Dornr\\u00f6schenweg", "aa:bb:cc:dd:ee:ff", "car-user", "tesla-user", key.hex(), (b"\7" * 32).hex(),
    )  # fmt: skip
    for name, text in texts.items():
        assert [secret for secret in secrets if secret in text] == [], name


def test_the_bundle_has_what_a_helper_needs(car_folder: Path) -> None:
    texts = read(car_folder / "bundle.zip")
    assert set(texts) == {"versions.json", "doctor.json", "configuration.json", "status.json", "log.txt"}
    assert json.loads(texts["versions.json"])["packages"]["onnxruntime"]
    assert "scripted: parked yes" in texts["doctor.json"]
    assert json.loads(texts["configuration.json"])["values"]["vehicle.source"]["value"] == "scripted"
    assert json.loads(texts["status.json"])["reasons"] == ["not_home_wifi"]
    assert '"event": "failed"' in texts["log.txt"]
    assert stat.S_IMODE((car_folder / "bundle.zip").stat().st_mode) == 0o600


def test_the_list_comes_first_and_a_no_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "car.toml").write_text("sever = 1")
    request = Request(file=tmp_path / "car.toml", environment={})
    asked: list[str] = []

    def refuse(question: str) -> str:
        asked.append(capsys.readouterr().out)
        return "no"

    assert ask_and_write(request, output=tmp_path / "bundle.zip", yes=False, ask=refuse) is None
    assert "doctor.json" in asked[0]
    assert "configuration.json" in asked[0]
    assert not (tmp_path / "bundle.zip").exists()


def test_a_configuration_that_cannot_be_used_can_still_be_sent(tmp_path: Path) -> None:
    file = tmp_path / "car.toml"
    file.write_text("sever = 1")
    path = ask_and_write(Request(file=file, environment={}), output=tmp_path / "bundle.zip", yes=True)
    assert path is not None
    texts = read(path)
    assert "did you mean server?" in texts["configuration.json"]
    assert json.loads(texts["doctor.json"])["ok"] is False
