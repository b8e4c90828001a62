"""The service: units that systemd accepts, hardened, with room for the runner's walls; and what is said to it."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetclient.cli import main
from fleetclient.service.install import ServiceNotInstalled, list_next_steps, make_unit, unit_path, write_unit
from fleetclient.service.notify import ServiceManager

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
# What `systemd-analyze security` says of the system unit; 10 is naked. It may fall, and must not rise unseen.
EXPOSURE_MAX = 2.8


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "XDG_RUNTIME_DIR": os.environ.get("XDG_RUNTIME_DIR", "/tmp")}
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False, env=environment)


@pytest.fixture(params=[True, False], ids=["system", "user"])
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "fleetclient.service"
    write_unit(make_unit(is_system=request.param), path)
    return path


@needs_systemd
def test_systemd_accepts_the_unit(unit: Path) -> None:
    scope = [] if "ProtectSystem" in unit.read_text() else ["--user"]
    checked = analyze("verify", "--man=no", *scope, str(unit))
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


@needs_systemd
def test_the_system_unit_is_hardened(tmp_path: Path) -> None:
    path = tmp_path / "fleetclient.service"
    write_unit(make_unit(is_system=True), path)
    checked = analyze("security", "--offline=yes", "--no-pager", str(path))
    found = re.search(r"Overall exposure level for fleetclient.service: ([\d.]+)", checked.stdout)
    assert found is not None, checked.stderr
    assert float(found[1]) <= EXPOSURE_MAX


def read(unit: Path) -> dict[str, str]:
    pairs = (line.partition("=") for line in unit.read_text().splitlines() if "=" in line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def test_the_unit_leaves_the_runner_its_own_walls(unit: Path) -> None:
    settings = read(unit)
    assert {"user", "net", "ipc", "uts"} <= set(settings["RestrictNamespaces"].split())
    assert settings["Delegate"] == "cpu memory pids"
    assert settings.get("ProtectControlGroups", "no") == "no"
    assert settings["OOMPolicy"] == "continue"
    text = unit.read_text()
    assert {"landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "seccomp"} <= set(
        re.split(r"[\s=]", text)
    )
    assert "MemoryDenyWriteExecute=yes" not in text


@needs_systemd
def test_every_system_call_that_the_walls_are_made_of_is_allowed() -> None:
    allowed = set(analyze("syscall-filter", "@system-service", "@process", "@resources").stdout.split())
    assert {"unshare", "prctl", "sched_setscheduler", "ioprio_set", "setrlimit", "capset"} <= allowed
    removed = set(analyze("syscall-filter", "@keyring", "@setuid", "@chown", "@aio", "@memlock").stdout.split())
    assert not {"unshare", "prctl", "sched_setscheduler", "ioprio_set", "setrlimit", "capset", "futex"} & removed


def test_the_unit_starts_the_launcher_of_this_installation_with_its_configuration(tmp_path: Path) -> None:
    config = tmp_path / "my car 100%.toml"
    text = make_unit(is_system=False, config=config, python="/opt/py/bin/python")
    line = next(line for line in text.splitlines() if line.startswith("ExecStart="))
    assert line == f"ExecStart=/opt/py/bin/python -m fleetclient.launch run --config '{tmp_path}/my car 100%%.toml'"
    assert f"ExecStart={sys.executable} -m fleetclient.launch run\n" in make_unit(is_system=True)


def test_the_service_gives_up_on_a_car_that_was_removed_and_starts_a_new_version_again(unit: Path) -> None:
    settings = read(unit)
    assert settings["RestartPreventExitStatus"].split() == ["2", "3"]
    assert settings["RestartForceExitStatus"] == "75"
    assert settings["Restart"] == "on-failure"
    assert int(settings["TimeoutStopSec"]) > 10


def test_the_command_writes_the_unit_where_a_user_has_his_and_says_what_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert main(["install-service", "--user"]) == 0
    path = tmp_path / "systemd" / "user" / "fleetclient.service"
    assert path.read_text() == make_unit(is_system=False)
    shown = capsys.readouterr().out
    assert str(path) in shown
    assert "systemctl --user enable --now fleetclient" in shown
    assert "fleetclient pair" in shown


def test_the_unit_can_be_looked_at_without_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert main(["install-service", "--system", "--print"]) == 0
    assert capsys.readouterr().out == make_unit(is_system=True)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_to_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ServiceNotInstalled, match="cannot be written"):
        write_unit("x", tmp_path / "file" / "fleetclient.service")


def test_the_system_unit_has_an_account_of_its_own() -> None:
    assert unit_path(is_system=True, environment={}) == Path("/etc/systemd/system/fleetclient.service")
    steps = "\n".join(list_next_steps(is_system=True, has_config=False))
    assert "useradd --system" in steps
    assert "chmod 600" in steps


# -- sd_notify -----------------------------------------------------------------------------------------------------


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        yield listener


def heard(manager: socket.socket) -> list[str]:
    messages = []
    while True:
        try:
            messages.append(manager.recv(4096).decode())
        except BlockingIOError:
            return messages


def test_the_manager_hears_that_the_agent_is_ready_alive_and_stopping(manager: socket.socket, tmp_path: Path) -> None:
    service = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "30000000"})
    service.ready("Waiting for the owner.")
    assert heard(manager) == ["READY=1\nSTATUS=Waiting for the owner."]
    for now in (100.0, 101.0, 109.0, 110.5, 111.0):
        service.alive(now)
    assert heard(manager) == ["WATCHDOG=1\n", "WATCHDOG=1\n"]
    service.alive(112.0, "Working.")
    service.alive(113.0, "Working.")
    assert heard(manager) == ["WATCHDOG=1\nSTATUS=Working."]
    service.stopping()
    assert heard(manager) == ["STOPPING=1"]


def test_without_a_watchdog_only_news_are_told(manager: socket.socket, tmp_path: Path) -> None:
    service = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "notify")})
    service.alive(1.0)
    service.alive(2.0, "Ready.")
    assert heard(manager) == ["STATUS=Ready."]


def test_an_abstract_socket_works_as_well() -> None:
    name = f"fleetclient-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}")
        ServiceManager({"NOTIFY_SOCKET": f"@{name}"}).stopping()
        assert listener.recv(100) == b"STOPPING=1"


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/nowhere/at/all"}])
def test_without_a_manager_nothing_happens(environment: dict[str, str]) -> None:
    service = ServiceManager({**environment, "WATCHDOG_USEC": "nonsense"})
    service.ready()
    service.alive(1.0, "x")
    service.stopping()
