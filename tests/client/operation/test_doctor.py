"""The doctor: a set-up that is broken in each way is found out, and each finding says how to mend it."""

from __future__ import annotations

import datetime as dt
import json
import platform
import shutil
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

import fleetclient.doctor as doctor_package
from fleetclient.config import Request
from fleetclient.control import ControlState
from fleetclient.control_socket import ControlServer
from fleetclient.doctor import CHECKS, check_car, check_machine, check_sandbox, examine
from fleetclient.doctor.context import open_context
from fleetclient.doctor.report import Level, Line, Report, fail, ok, render, warn
from fleetclient.identity import Identity
from fleetclient.live import listen
from fleetclient.machine import machine_fingerprint, runtime_version
from fleetclient.runner.probes import ProbeOutcome, ProbeReport
from fleetclient.runner.walls import WallsReport
from fleetclient.selftest.report import GraphReport, SelfTestReport, write_report
from fleetclient.trust.verdict import Verdict
from fleetclient.update.folder import VersionFolder
from tests.client.operation.sample import make_status

OFF = "mode = 'off'"


def _connected(extra: str) -> str:
    """Return the sections, with the scripted car in the place of a real one that they do not name."""
    return extra if "[vehicle]" in extra else f'{extra}\n[vehicle]\nsource = "scripted"\n'


class Answering(BaseHTTPRequestHandler):
    """A server that answers as it is told."""

    status: ClassVar[int] = 401
    kind: ClassVar[str] = "application/problem+json"
    skew_seconds: ClassVar[float] = 0.0

    def do_GET(self) -> None:
        self.send_response_only(self.status)
        self.send_header("Date", formatdate(time.time() + self.skew_seconds, usegmt=True))
        self.send_header("Content-Type", self.kind)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    servers: list[HTTPServer] = []

    def start(*, tls: ssl.SSLContext | None = None, **behaviour: Any) -> str:
        server = HTTPServer(("127.0.0.1", 0), type("Handler", (Answering,), behaviour))
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


class Patient:
    """A car's configuration and state folder, well unless a test breaks something."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "car.toml"
        self.state = folder / "state"
        self.write()

    def write(self, server: str = "http://127.0.0.1:1", extra: str = "") -> None:
        self.file.write_text(f'server = "{server}"\nstate_dir = "state"\n{_connected(extra)}')

    def lines(self, *checks: str) -> list[Line]:
        context = open_context(Request(file=self.file, environment={"HOME": str(self.folder)}))
        return [line for name in checks for line in CHECKS[name](context)]

    def line(self, check: str, name: str) -> Line:
        return next(line for line in self.lines(check) if line.check == name)

    def make_identity(self) -> Identity:
        self.state.mkdir(mode=0o700, exist_ok=True)
        return Identity(self.state / "identity")


@pytest.fixture
def patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Patient:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return Patient(tmp_path)


def assert_sick(line: Line, level: Level, *words: str) -> None:
    assert line.level is level, line
    assert line.mend.strip()
    for word in words:
        assert word in line.text + line.mend, line


# -- the report ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [Level.WARN, Level.FAIL])
def test_no_finding_can_be_made_without_saying_how_to_mend_it(level: Level) -> None:
    with pytest.raises(ValueError, match="how to mend"):
        Line(check="x", level=level, text="broken")


def test_a_report_fails_when_one_line_does() -> None:
    assert Report(lines=[ok("a", "fine"), warn("b", "so-so", "do")]).has_failed is False
    report = Report(lines=[ok("a", "fine"), fail("b", "broken", "mend it")])
    assert report.as_document()["ok"] is False
    assert "-> mend it" in render(report)


def test_a_check_that_breaks_is_a_finding_and_hides_no_other(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> Iterator[Line]:
        yield fail("first", str(1 / 0), "")

    monkeypatch.setattr(doctor_package, "CHECKS", {"first": broken, "python": check_machine.check_python})
    report = examine(Request(file=patient.file, environment={"HOME": str(patient.folder)}))
    assert [line.level for line in report.lines] == [Level.FAIL, Level.OK]
    assert_sick(report.lines[0], Level.FAIL, "ZeroDivisionError", "support-bundle")


def test_everything_is_checked_before_pairing_and_without_a_server(patient: Patient) -> None:
    report = examine(Request(file=patient.file, environment={"HOME": str(patient.folder)}))
    by_name = {line.check: line for line in report.lines}
    assert by_name["probes"].level is Level.OK
    assert by_name["car"].level is Level.OK
    assert_sick(by_name["identity"], Level.WARN, "fleetclient pair")
    assert_sick(by_name["connection"], Level.FAIL, "does not answer")
    assert not [line for line in report.lines if "fault of the doctor" in line.mend]
    assert not patient.state.exists()


# -- files --------------------------------------------------------------------------------------------------------


def test_a_configuration_that_cannot_be_used_is_found_and_the_rest_still_checked(patient: Patient) -> None:
    patient.file.write_text("sever = 3")
    assert_sick(patient.line("configuration", "configuration"), Level.FAIL, "did you mean server?", "config show")
    assert patient.lines("python")
    assert (
        patient.lines(*(name for name in CHECKS if name not in ("python", "runtime", "configuration", "clock"))) == []
    )


def test_a_missing_server_is_found(patient: Patient) -> None:
    patient.file.write_text('state_dir = "state"\n')
    assert_sick(patient.line("configuration", "server address"), Level.FAIL, "car.toml")


def test_a_simulation_is_no_real_car(patient: Patient) -> None:
    patient.write(extra="[simulation]\nspeed = 0.5\n")
    assert_sick(patient.line("configuration", "simulation"), Level.WARN, "[simulation]")


@pytest.mark.parametrize(("mode", "level"), [(0o700, Level.OK), (0o755, Level.WARN), (0o777, Level.FAIL)])
def test_a_state_folder_that_is_open_to_others_is_found(patient: Patient, mode: int, level: Level) -> None:
    patient.state.mkdir()
    patient.state.chmod(mode)
    line = patient.line("state folder", "state folder")
    assert line.level is level
    assert level is Level.OK or "chmod 700" in line.mend


def test_a_state_folder_that_is_a_file_is_found(patient: Patient) -> None:
    patient.state.write_text("")
    assert_sick(patient.line("state folder", "state folder"), Level.FAIL, "cannot be used", "chown")


def test_a_good_identity_is_well(patient: Patient) -> None:
    identity = patient.make_identity()
    identity.remember_pairing(vehicle_id="veh_1", director_key=b"\1" * 32)
    assert [line.level for line in patient.lines("identity")] == [Level.OK, Level.OK]


def test_a_key_that_others_can_read_is_found(patient: Patient) -> None:
    patient.make_identity()
    (patient.state / "identity" / "key").chmod(0o644)
    assert_sick(patient.line("identity", "key"), Level.FAIL, "644", "chmod 600")


def test_a_damaged_key_is_found(patient: Patient) -> None:
    patient.make_identity()
    (patient.state / "identity" / "key").write_bytes(b"short")
    assert_sick(patient.line("identity", "key"), Level.FAIL, "damaged", "unpair")


@pytest.mark.parametrize(
    "content", ["", "{}", '{"vehicle_id": "v", "director_key": "zz"}', '{"vehicle_id": "v", "director_key": "00"}']
)
def test_a_damaged_pairing_is_found(patient: Patient, content: str) -> None:
    patient.make_identity()
    (patient.state / "identity" / "vehicle.json").write_text(content)
    assert_sick(patient.line("identity", "pairing"), Level.FAIL, "unpair")


def test_a_car_that_was_removed_is_found(patient: Patient) -> None:
    patient.make_identity().remember_revoked()
    assert_sick(patient.line("identity", "pairing"), Level.FAIL, "removed from the fleet")


# -- the computer -------------------------------------------------------------------------------------------------


def test_an_old_python_is_found(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_machine, "PYTHON_MIN", (sys.version_info.major, sys.version_info.minor + 1))
    assert_sick(patient.line("python", "python"), Level.FAIL, "Python 3.11")


def test_another_system_than_linux_is_found(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    assert_sick(patient.line("python", "system"), Level.FAIL, "Darwin", "Linux")


@pytest.mark.parametrize("version", ["0.0", "1.20.3"])
def test_a_missing_or_old_runtime_is_found(patient: Patient, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(check_machine, "runtime_version", lambda: version)
    assert_sick(patient.line("runtime", "runtime"), Level.FAIL, "pip install")


@pytest.mark.parametrize(("free", "level"), [(10, Level.FAIL), (2_000_000_000, Level.WARN), (10**12, Level.OK)])
def test_a_full_disk_is_found(patient: Patient, monkeypatch: pytest.MonkeyPatch, free: int, level: Level) -> None:
    usage = shutil.disk_usage("/")._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert {line.level for line in patient.lines("disk")} == {level}


def test_a_grant_of_memory_that_is_not_there_is_found(patient: Patient) -> None:
    patient.write(extra=f"[limits]\nmemory_bytes = {2**45}\n")
    assert_sick(patient.line("memory", "memory"), Level.WARN, "limits.memory_bytes =")


def test_a_clock_that_was_never_set_is_found(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    assert_sick(patient.line("clock", "clock"), Level.FAIL, "timedatectl")


# -- the server ---------------------------------------------------------------------------------------------------


def test_a_server_of_ours_is_well(patient: Patient, serve: Callable[..., str]) -> None:
    patient.write(serve())
    assert {line.check: line.level for line in patient.lines("server")} == dict.fromkeys(
        ("name", "connection", "encryption", "answer", "clock skew"), Level.OK
    )


def test_a_name_that_is_not_known_is_found(patient: Patient) -> None:
    patient.write("https://nowhere.invalid")
    assert_sick(patient.line("server", "name"), Level.FAIL, "nowhere.invalid")


def test_a_server_that_does_not_listen_is_found(patient: Patient) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        patient.write(f"http://127.0.0.1:{unused.getsockname()[1]}")
        assert_sick(patient.line("server", "connection"), Level.FAIL, "does not answer", "firewall")


@pytest.mark.parametrize(
    "behaviour", [{"kind": "text/html"}, {"kind": "text/html", "status": 200}, {"status": 302, "kind": ""}]
)
def test_something_else_that_answers_is_found(patient: Patient, serve: Callable[..., str], behaviour: Any) -> None:
    patient.write(serve(**behaviour))
    assert_sick(patient.line("server", "answer"), Level.FAIL, "something else answers")


def test_a_server_in_trouble_is_found(patient: Patient, serve: Callable[..., str]) -> None:
    patient.write(serve(status=503))
    assert_sick(patient.line("server", "answer"), Level.FAIL, "503")


@pytest.mark.parametrize(("skew", "level"), [(90.0, Level.WARN), (-4000.0, Level.FAIL)])
def test_a_clock_that_is_off_is_found(patient: Patient, serve: Callable[..., str], skew: float, level: Level) -> None:
    patient.write(serve(skew_seconds=skew))
    assert_sick(patient.line("server", "clock skew"), level, "timedatectl")


def test_a_proxy_that_does_not_answer_is_found_and_its_password_not_shown(patient: Patient) -> None:
    patient.write(extra='[network]\nproxy = "http://car:hunter22@127.0.0.1:1"\n')
    patient.file.chmod(0o600)
    lines = patient.lines("network", "server")
    assert "hunter22" not in str(lines)
    assert_sick(next(line for line in lines if line.check == "answer"), Level.FAIL, "proxy")
    assert [line.check for line in lines if line.check in ("name", "connection")] == []


def make_certificate(folder: Path) -> Path:
    key, now = Ed25519PrivateKey.generate(), dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nobody")])
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now).not_valid_after(now + dt.timedelta(days=1)).sign(key, None)
    )  # fmt: skip
    path = folder / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


def test_a_certificate_of_nobody_is_found(patient: Patient, serve: Callable[..., str], tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(make_certificate(tmp_path))
    patient.write(serve(tls=context))
    assert_sick(patient.line("server", "encryption"), Level.FAIL, "not good", "ca_file")
    assert "answer" not in [line.check for line in patient.lines("server")]


def test_https_where_http_is_spoken_is_found(patient: Patient, serve: Callable[..., str]) -> None:
    patient.write(serve().replace("http:", "https:"))
    assert_sick(patient.line("server", "encryption"), Level.FAIL, "https")


def test_a_car_whose_home_network_is_not_named_is_told_so(patient: Patient) -> None:
    assert_sick(patient.line("network", "networks"), Level.WARN, "allowed_ssids")


def test_on_another_network_than_the_allowed_one_nothing_is_sent(patient: Patient, serve: Callable[..., str]) -> None:
    asked: list[str] = []
    origin = serve(do_GET=lambda handler: asked.append(handler.path))
    patient.write(origin, '[network]\nallowed_ssids = ["a network that is not here"]\n')
    (line,) = patient.lines("network", "server")
    assert_sick(line, Level.WARN, "nothing is sent")
    assert asked == []


# -- trust --------------------------------------------------------------------------------------------------------


def write_verdict(patient: Patient, *, valid_seconds: float, root: str = "ab" * 32) -> None:
    now = time.time()
    folder = patient.state / "trust"
    folder.mkdir(parents=True, mode=0o700)
    verdict = Verdict(checked_at=now - 10, valid_until=now + valid_seconds, root_sha256=root)
    (folder / "verdict.json").write_bytes(verdict.to_json())


def test_metadata_that_was_never_read_is_told(patient: Patient) -> None:
    assert_sick(patient.line("trust", "trust"), Level.WARN, "not been read")


def test_metadata_that_ran_out_is_found(patient: Patient) -> None:
    write_verdict(patient, valid_seconds=-100.0)
    assert_sick(patient.line("trust", "trust"), Level.FAIL, "ran out", "stopped the fleet")


def test_fresh_metadata_shows_until_when_it_holds_and_from_which_root(patient: Patient) -> None:
    write_verdict(patient, valid_seconds=3600.0)
    trust, root = patient.lines("trust")
    assert (trust.level, root.level) == (Level.OK, Level.OK)
    assert "ab" * 32 in root.text


def test_another_root_than_the_pinned_one_is_found(patient: Patient) -> None:
    write_verdict(patient, valid_seconds=3600.0)
    patient.write(extra=f'[trust]\nroot_sha256 = "{"cd" * 32}"\n')
    assert_sick(patient.line("trust", "root"), Level.FAIL, "another than the pinned one")


def test_metadata_that_is_damaged_is_told(patient: Patient) -> None:
    write_verdict(patient, valid_seconds=3600.0)
    (patient.state / "trust" / "verdict.json").write_text("[]")
    assert_sick(patient.line("trust", "trust"), Level.WARN, "remove")


def test_trust_that_is_off_is_told(patient: Patient) -> None:
    patient.write("http://127.0.0.1:1", f"[trust]\n{OFF}\n[simulation]\nspeed = 1.0\n")
    assert_sick(patient.line("trust", "trust"), Level.WARN, "believes its server")


# -- the car ------------------------------------------------------------------------------------------------------


def test_a_source_that_says_nothing_is_found(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_car, "listen", partial(listen, listen_seconds=1.0))
    patient.write(extra='[vehicle]\nsource = "teslamate"\n[vehicle.teslamate]\nport = 1\n')
    assert_sick(patient.line("car", "car"), Level.FAIL, "127.0.0.1:1 cannot be reached", "[vehicle.teslamate]")
    assert patient.lines("rules") == []


def test_a_source_that_leaves_out_what_the_rules_need_is_found(patient: Patient) -> None:
    (patient.folder / "car.json").write_text(json.dumps({"parked": True, "plugged_in": True}))
    patient.write(extra='[vehicle]\nsource = "file"\n[vehicle.file]\ndocument_file = "car.json"\n')
    line = patient.line("car", "car")
    assert_sick(line, Level.FAIL, "battery")


def test_rules_that_ask_for_what_the_car_never_says_are_named(patient: Patient) -> None:
    """Everything looks well, and yet no work would ever begin."""
    said = {"parked": True, "plugged_in": True, "user_present": False, "updating": False, "soc_pct": 80}
    (patient.folder / "car.json").write_text(json.dumps(said))
    patient.write(extra='[vehicle]\nsource = "file"\n[vehicle.file]\ndocument_file = "car.json"\n')
    car, rules, unheard, _ = patient.lines("car", "rules")
    assert (car.level, rules.level) == (Level.OK, Level.OK)
    assert_sick(unheard, Level.WARN, "home_network, charger, cabin_temp", "[vehicle.file]")
    (patient.folder / "car.json").write_text(
        json.dumps(said | {"charging": False, "on_home_wifi": True, "cabin_temp_c": 20})
    )
    assert "may work now" in patient.lines("car", "rules")[1].text


def test_a_source_with_a_password_file_that_is_open_to_others_is_found(patient: Patient) -> None:
    (patient.folder / "secret").write_text("x")
    (patient.folder / "secret").chmod(0o644)
    section = '[vehicle]\nsource = "teslamate"\n[vehicle.teslamate]\nusername = "car"\npassword_file = "secret"\n'
    patient.write(extra=section)
    assert_sick(patient.line("car", "car"), Level.FAIL, "chmod 600")


def test_what_the_rules_say_now_is_no_fault_but_a_missing_time_zone_is_told(patient: Patient) -> None:
    patient.write(extra='[rules]\naway_mode = "vacation"\n')
    car, made_up, rules, zone = patient.lines("car", "rules")
    assert (car.level, rules.level) == (Level.OK, Level.OK)
    assert_sick(made_up, Level.WARN, "no real car is asked", "[vehicle] source")
    assert "may not work now" in rules.text
    assert_sick(zone, Level.WARN, "time_zone")


# -- walls, self-test, agent --------------------------------------------------------------------------------------


def test_a_wall_that_is_missing_is_told_and_one_that_work_needs_is_a_failure(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = ProbeReport(walls={}, reason_refused="no seccomp here")
    monkeypatch.setattr(check_sandbox, "run_probes", lambda *_, **__: nothing)
    some = WallsReport(reason_refused="", walls={"seccomp": True, "landlock": False})
    monkeypatch.setattr(check_sandbox, "check_walls", lambda _: some)
    walls, wall, probes = patient.lines("sandbox")
    assert (walls.level, walls.text) == (Level.OK, "seccomp")
    assert_sick(wall, Level.WARN, "landlock", "5.13")
    assert_sick(probes, Level.FAIL, "no seccomp here")
    monkeypatch.setattr(check_sandbox, "check_walls", lambda _: WallsReport(reason_refused="no walls", walls={}))
    (line,) = patient.lines("sandbox")
    assert_sick(line, Level.FAIL, "no walls", "takes no work")


def test_a_probe_that_gets_through_is_found(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    through = ProbeOutcome(name="socket", what="open a socket", is_denied=False, how="possible")
    monkeypatch.setattr(check_sandbox, "check_walls", lambda _: WallsReport(reason_refused="", walls={"seccomp": True}))
    monkeypatch.setattr(check_sandbox, "run_probes", lambda *_, **__: ProbeReport(outcomes=(through,), walls={}))
    _, line = patient.lines("sandbox")
    assert_sick(line, Level.FAIL, "open a socket", "do not let this car work")


def write_selftest(patient: Patient, *, passed: bool, version: str = "") -> None:
    from fleetclient import __version__

    report = SelfTestReport(
        made_at_unix=time.time(), client_version=version or __version__, runtime_version=runtime_version(),
        machine=machine_fingerprint(), provider="CPUExecutionProvider", isa="avx2", int8="exact", opset_max=23,
        comparison_class="cpu-fp32", walls={},
        graphs=(GraphReport(name="conv", passed=passed, detail="off by 3", rows_per_second=12.0),),
    )  # fmt: skip
    write_report(patient.state, report)


def test_the_self_test_is_told_when_due_and_found_when_failed(patient: Patient) -> None:
    assert_sick(patient.line("self-test", "self-test"), Level.WARN, "fleetclient selftest")
    write_selftest(patient, passed=True)
    assert patient.line("self-test", "self-test").level is Level.OK
    write_selftest(patient, passed=True, version="0.0.1")
    assert_sick(patient.line("self-test", "self-test"), Level.WARN, "0.0.1")
    write_selftest(patient, passed=False)
    assert_sick(patient.line("self-test", "self-test"), Level.FAIL, "off by 3")


def test_a_self_test_made_by_the_release_that_the_agent_runs_is_good(patient: Patient) -> None:
    """The command stays the installed version; the agent has been updated."""
    write_selftest(patient, passed=True, version="99.0.0")
    releases = VersionFolder(patient.state)
    (releases.path("99.0.0") / "fleetclient").mkdir(parents=True)
    (releases.path("99.0.0") / "fleetclient" / "__init__.py").touch()
    releases.switch_to("99.0.0")
    assert patient.line("self-test", "self-test").level is Level.OK


def test_a_running_agent_tells_its_trouble(patient: Patient) -> None:
    patient.state.mkdir(mode=0o700)
    document = make_status(
        error={"at": time.time() - 60, "code": "unreachable", "text": "no route"},
        trust={"mode": "tuf", "stop_reason": "the fleet was stopped"},
    )
    server = ControlServer(patient.state, control=ControlState(patient.state), status=lambda: document)
    server.start()
    by_name = {line.check: line for line in patient.lines("agent")}
    server.stop()
    assert by_name["agent"].text.startswith("running (process 4242)")
    assert_sick(by_name["fleet"], Level.FAIL, "the fleet was stopped")
    assert_sick(by_name["last error"], Level.WARN, "no route")
    assert_sick(by_name["model"], Level.WARN, "0123456789ab")


def test_beside_a_running_agent_its_own_signals_are_shown(patient: Patient) -> None:
    patient.state.mkdir(mode=0o700)
    patient.write(extra='[vehicle]\nsource = "teslamate"\n[vehicle.teslamate]\nport = 1\n')
    server = ControlServer(patient.state, control=ControlState(patient.state), status=make_status)
    server.start()
    line = patient.line("car", "car")
    server.stop()
    assert line.level is Level.OK
    assert "battery 58 %" in line.text


def test_a_car_that_nobody_has_connected_is_found(patient: Patient) -> None:
    patient.write(extra="[vehicle]\nhand_back = true\n")
    assert_sick(patient.line("car", "car"), Level.FAIL, "no car is connected", "[vehicle]", "teslamate")
