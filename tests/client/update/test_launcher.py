"""The launcher with real processes: a good version is kept, a bad one taken back, and a power cut changes neither."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from fleetclient.update.folder import VersionFolder
from fleetclient.update.launcher import EXIT_RESTART, INSTALLED_PATH, SUPERVISED, Launcher
from fleetclient.update.wheel import unpack
from tests.client.support import is_running, wait_until
from tests.client.update.releases import (
    CLIENT_ROOT,
    CRASHING,
    CRASHING_LATER,
    HEALTHY,
    RESTARTING,
    SILENT,
    make_wheel,
    read_state,
    start_launcher,
    started,
)

INSTALLED_RAN = "fleetclient 0.1.0\n"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    return folder


def install(state: Path, version: str, behaviour: str) -> None:
    folder = VersionFolder(state)
    folder.versions.mkdir(parents=True, exist_ok=True)
    unpack(make_wheel(state.parent, version, behaviour), versions=folder.versions, version=version)
    folder.switch_to(version)


def finish(state: Path, **options: object) -> tuple[int, str, str]:
    process = start_launcher(state, **options)  # type: ignore[arg-type]
    out, errors = process.communicate(timeout=60)
    return process.returncode, out, errors


def test_without_updates_the_installed_version_runs_in_the_launchers_own_process(state: Path) -> None:
    assert finish(state) == (0, INSTALLED_RAN, "")
    assert not (state / "client").exists()


def test_a_healthy_version_is_kept_and_then_runs_without_the_launcher(state: Path) -> None:
    install(state, "0.2.0", HEALTHY)
    first = start_launcher(state)
    wait_until(lambda: (state / "client" / "healthy").exists() and not read_state(state)["is_on_trial"])
    first.send_signal(signal.SIGTERM)
    assert first.wait(timeout=60) == 0
    assert read_state(state) == {
        "current": "0.2.0", "previous": "", "is_on_trial": False, "starts": 0, "highest": "0.2.0", "bad": {},
    }  # fmt: skip
    second = start_launcher(state)
    wait_until(lambda: len(started(state)) == 2)
    command = Path(f"/proc/{second.pid}/cmdline").read_bytes().split(b"\0")[2:4]
    assert command == [b"-m", b"fleetclient"]
    second.send_signal(signal.SIGTERM)
    assert second.wait(timeout=60) == 0
    assert started(state) == ["0.2.0", "0.2.0"]


def test_a_version_that_crashes_at_start_is_taken_back_after_three_starts(state: Path) -> None:
    install(state, "0.2.0", CRASHING)
    status, out, errors = finish(state)
    assert (status, out) == (0, INSTALLED_RAN)
    assert started(state) == ["0.2.0"] * 3
    assert "version 0.2.0 was taken back: it was started 3 times and never became healthy" in errors
    assert read_state(state)["bad"] == {"0.2.0": "it was started 3 times and never became healthy"}
    assert read_state(state)["highest"] == "0.2.0"


def test_a_version_that_never_becomes_healthy_is_ended_and_taken_back(state: Path) -> None:
    install(state, "0.2.0", SILENT)
    status, out, _ = finish(state, health_seconds=1.0)
    assert (status, out) == (0, INSTALLED_RAN)
    assert started(state) == ["0.2.0"]
    assert read_state(state)["bad"] == {"0.2.0": "it did not become healthy within 1 s"}


def test_the_version_before_is_the_one_to_go_back_to(state: Path) -> None:
    install(state, "0.2.0", HEALTHY)
    first = start_launcher(state)
    wait_until(lambda: started(state) == ["0.2.0"] and not read_state(state)["is_on_trial"])
    first.send_signal(signal.SIGTERM)
    first.wait(timeout=60)
    install(state, "0.3.0", CRASHING)
    again = start_launcher(state)
    wait_until(lambda: started(state) == ["0.2.0", "0.3.0", "0.3.0", "0.3.0", "0.2.0"])
    again.send_signal(signal.SIGTERM)
    assert again.wait(timeout=60) == 0
    assert (read_state(state)["current"], read_state(state)["is_on_trial"]) == ("0.2.0", False)


def test_a_crash_after_it_was_healthy_is_no_reason_to_take_it_back(state: Path) -> None:
    install(state, "0.2.0", CRASHING_LATER)
    status, _, _ = finish(state)
    assert status == 42
    assert (read_state(state)["current"], read_state(state)["bad"]) == ("0.2.0", {})


def has_started_more(state: Path, than: int) -> bool:
    return len(started(state)) > than


def test_stopping_a_version_on_trial_is_not_counted_against_it(state: Path) -> None:
    install(state, "0.2.0", SILENT)
    for _ in range(4):
        already = len(started(state))
        process = start_launcher(state)
        wait_until(partial(has_started_more, state, already))
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
    assert (read_state(state)["current"], read_state(state)["is_on_trial"]) == ("0.2.0", True)
    assert read_state(state)["bad"] == {}


def test_an_agent_that_asks_for_a_restart_gets_one_in_the_current_version(state: Path) -> None:
    install(state, "0.2.0", RESTARTING)
    process = start_launcher(state)
    wait_until(lambda: len(started(state)) >= 2)
    process.kill()
    process.wait()
    assert (read_state(state)["current"], read_state(state)["is_on_trial"]) == ("0.2.0", False)


def test_no_agent_outlives_its_launcher(state: Path) -> None:
    install(state, "0.2.0", "(state / 'pid').write_text(str(os.getpid())); wait_for_end()")
    process = start_launcher(state)
    wait_until(lambda: (state / "pid").exists() and bool((state / "pid").read_text()))
    pid = int((state / "pid").read_text())
    process.kill()
    process.wait()
    wait_until(lambda: not is_running(pid))


def test_a_version_installed_by_hand_that_is_newer_wins(state: Path) -> None:
    install(state, "0.0.9", HEALTHY)
    assert finish(state) == (0, INSTALLED_RAN, "")
    assert started(state) == []
    assert read_state(state)["current"] == ""


def test_a_version_whose_files_have_gone_is_taken_back(state: Path) -> None:
    install(state, "0.2.0", HEALTHY)
    (state / "client" / "versions" / "0.2.0" / "fleetclient" / "__init__.py").unlink()
    status, out, _ = finish(state)
    assert (status, out) == (0, INSTALLED_RAN)
    assert read_state(state)["bad"] == {"0.2.0": "its files are not there"}


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_version_below_the_one_installed_by_hand_is_nothing_to_go_back_to(state: Path, is_whole: bool) -> None:
    install(state, "0.2.0", HEALTHY)
    VersionFolder(state).keep("0.2.0")
    install(state, "0.3.0", CRASHING)
    for _ in range(3):
        VersionFolder(state).note_start()
    if not is_whole:
        (state / "client" / "versions" / "0.3.0" / "fleetclient" / "__init__.py").unlink()
    launcher = Launcher(state_dir=state, arguments=[], installed_version="0.2.5")
    assert launcher._settle().current == ""
    assert read_state(state)["current"] == ""
    bad = read_state(state)["bad"]
    assert isinstance(bad, dict)
    assert list(bad) == ["0.3.0"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"current": "0.2.0", "odd": 1}', b"\xff"])
def test_a_damaged_state_file_starts_the_installed_version(state: Path, content: bytes) -> None:
    install(state, "0.2.0", HEALTHY)
    (state / "client" / "state.json").write_bytes(content)
    assert finish(state)[:2] == (0, INSTALLED_RAN)


@pytest.mark.parametrize("point", ["update_start_counted", "update_taken_back"])
def test_a_power_cut_in_the_launcher_only_costs_a_start(state: Path, point: str) -> None:
    install(state, "0.2.0", CRASHING)
    process = start_launcher(state, fail_point=point)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    status, out, _ = finish(state)
    assert (status, out) == (0, INSTALLED_RAN)
    assert read_state(state)["bad"] == {"0.2.0": "it was started 3 times and never became healthy"}
    assert len(started(state)) <= 3


def test_health_that_was_reported_before_a_power_cut_counts(state: Path) -> None:
    install(state, "0.2.0", SILENT)
    VersionFolder(state).report_healthy("0.2.0")
    process = start_launcher(state)
    wait_until(lambda: started(state) == ["0.2.0"])
    assert not read_state(state)["is_on_trial"]
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=60)


def test_praise_of_an_earlier_time_does_not_count_for_a_new_trial(state: Path) -> None:
    VersionFolder(state).report_healthy("0.2.0")
    install(state, "0.2.0", CRASHING)
    assert finish(state)[:2] == (0, INSTALLED_RAN)
    assert "0.2.0" in str(read_state(state)["bad"])


def test_the_child_finds_its_own_version_first_wherever_it_is_started(state: Path) -> None:
    (state / "fleetclient").mkdir()
    (state / "fleetclient" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    probe = (
        "import fleetclient, json; (state / 'seen').write_text(json.dumps([fleetclient.__file__,"
        f" os.environ['{INSTALLED_PATH}'], os.environ['{SUPERVISED}'] == str(os.getppid())])); os._exit({EXIT_RESTART})"
    )
    install(state, "0.2.0", probe)
    process = start_launcher(state)
    wait_until(lambda: (state / "seen").exists() and bool((state / "seen").read_text()))
    process.kill()
    process.wait()
    found, installed_path, is_supervised = json.loads((state / "seen").read_text())
    assert found == str(state / "client" / "versions" / "0.2.0" / "fleetclient" / "__init__.py")
    assert installed_path == str(CLIENT_ROOT) == os.fspath(CLIENT_ROOT)
    assert is_supervised


def test_every_other_command_runs_in_the_version_that_is_current(state: Path) -> None:
    config = state / "car.toml"
    config.write_text('state_dir = "."\n')

    def ask() -> str:
        command = [sys.executable, "-P", "-m", "fleetclient.launch", "status", "--config", str(config)]
        environment = {**os.environ, "PYTHONPATH": str(CLIENT_ROOT), "TEST_STATE": str(state)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout

    assert ask() != ""
    assert started(state) == []
    install(state, "99.0.0", "print('the new one')")
    assert ask() == "the new one\n"
    assert (state / "started").read_text() == f"99.0.0 status --config {config}\n"
