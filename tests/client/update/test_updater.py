"""Choosing, fetching and unpacking a release; what is refused leaves everything as it was."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import zipfile
from itertools import pairwise
from pathlib import Path

import pytest

from fleetclient.selftest.runtime import read_facts
from fleetclient.trust.look import LookFailed, LookRequest, look
from fleetclient.update.channels import choose, ring_of
from fleetclient.update.folder import UpdateState, VersionFolder
from fleetclient.update.health import OFFLINE_SECONDS, Probation
from fleetclient.update.launcher import RUNNING_VERSION, Launcher
from fleetclient.update.options import UpdateOptions, UpdateOptionsInvalid
from fleetclient.update.place import find_state_dir
from fleetclient.update.updater import Updater, UpdateRefused
from fleetclient.update.versions import VersionInvalid, is_newer
from fleetclient.update.wheel import WheelRefused, unpack
from tests.client.update.releases import CLIENT_ROOT, Offered, Shelf, make_wheel, read_state

HOUR = 3600.0
HERE = "fleetclient/__init__.py"


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def make_updater(tmp_path: Path, shelf: Shelf, *, running: str = "0.1.0", **options: object) -> Updater:
    return Updater(
        options=UpdateOptions(**options),  # type: ignore[arg-type]
        state_dir=tmp_path / "state",
        vehicle_id="veh_1",
        releases=shelf,
        running=running,
    )


def unpacked(tmp_path: Path) -> list[str]:
    folder = tmp_path / "state" / "client" / "versions"
    return sorted(each.name for each in folder.iterdir()) if folder.exists() else []


# -- from the channel to the switch --------------------------------------------------------------------------------


def test_a_release_is_fetched_unpacked_and_waits_until_the_car_is_idle_and_plugged_in(
    tmp_path: Path, shelf: Shelf
) -> None:
    shelf.offer(make_wheel(tmp_path, "0.2.0"))
    updater = make_updater(tmp_path, shelf)
    assert updater.is_due(0.0)
    assert updater.why_waiting(is_working=False, is_plugged_in=True) == "version 0.2.0 has not been fetched yet"
    assert updater.prepare(0.0) == "0.2.0"
    assert (updater.is_due(23 * HOUR), updater.is_due(24 * HOUR)) == (False, True)
    assert unpacked(tmp_path) == ["0.2.0"]
    assert VersionFolder(tmp_path / "state").read() == UpdateState()
    working, away = "waits until no unit is being computed", "waits until the car is plugged in"
    assert updater.why_waiting(is_working=True, is_plugged_in=True) == f"version 0.2.0 {working}"
    for unplugged in (False, None):
        assert updater.why_waiting(is_working=False, is_plugged_in=unplugged) == f"version 0.2.0 {away}"
    status = updater.status(is_working=True)
    assert (status.running, status.waiting, status.is_ready) == ("0.1.0", "0.2.0", True)
    assert updater.why_waiting(is_working=False, is_plugged_in=True) == ""
    assert updater.switch() == "0.2.0"
    assert read_state(tmp_path / "state")["current"] == "0.2.0"
    assert read_state(tmp_path / "state")["is_on_trial"] is True


@pytest.mark.parametrize("start", ["unpack", "look", "facts", "launch"])
def test_files_that_others_put_where_the_client_is_started_are_not_run(
    tmp_path: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch, start: str
) -> None:
    folder = tmp_path / "anybodys"
    folder.mkdir()
    (folder / "json.py").write_text("import pathlib; pathlib.Path(__file__).with_name('ran').touch()")
    monkeypatch.chdir(folder)
    if start == "unpack":
        shelf.offer(make_wheel(tmp_path, "0.2.0"))
        assert make_updater(tmp_path, shelf).prepare(0.0) == "0.2.0"
    elif start == "facts":
        assert read_facts().providers
    elif start == "look":
        with pytest.raises(LookFailed):
            look(LookRequest(origin="", folder=str(tmp_path)))
    else:
        command = Launcher(state_dir=tmp_path, arguments=["--version"])._command()
        environment = {**os.environ, "PYTHONPATH": str(CLIENT_ROOT)}
        subprocess.run(command, env=environment, capture_output=True, check=True)
    assert not (folder / "ran").exists()


def test_a_security_release_waits_for_no_plug_but_never_interrupts_work(tmp_path: Path, shelf: Shelf) -> None:
    shelf.offer(make_wheel(tmp_path, "0.2.0"), is_security=True)
    updater = make_updater(tmp_path, shelf)
    updater.prepare(0.0)
    assert updater.why_waiting(is_working=False, is_plugged_in=None) == ""
    assert "no unit" in updater.why_waiting(is_working=True, is_plugged_in=True)


def test_owners_can_do_without_a_plug_and_without_updates(tmp_path: Path, shelf: Shelf) -> None:
    shelf.offer(make_wheel(tmp_path, "0.2.0"))
    off = make_updater(tmp_path, shelf, enabled=False)
    assert not off.is_due(1e9)
    assert off.prepare(0.0) == ""
    assert off.status().reason == "updates are turned off by the owner"
    pinned = make_updater(tmp_path, shelf, channel="pinned")
    assert pinned.prepare(0.0) == ""
    assert pinned.status().waiting == "0.2.0"
    assert pinned.status().reason == "version 0.2.0 is out; the owner has pinned 0.1.0"
    assert shelf.fetched == []
    unplugged = make_updater(tmp_path, shelf, needs_plug=False)
    unplugged.prepare(0.0)
    assert unplugged.why_waiting(is_working=False, is_plugged_in=None) == ""


def test_another_update_waits_for_the_trial_of_this_one(tmp_path: Path, shelf: Shelf) -> None:
    shelf.offer(make_wheel(tmp_path, "0.2.0"))
    first = make_updater(tmp_path, shelf)
    first.prepare(0.0)
    first.switch()
    shelf.offer(make_wheel(tmp_path, "0.3.0"))
    second = make_updater(tmp_path, shelf, running="0.2.0")
    second.prepare(0.0)
    assert second.why_waiting(is_working=False, is_plugged_in=True) == "version 0.2.0 has yet to prove itself"


def test_old_versions_are_deleted_but_not_the_one_to_go_back_to(tmp_path: Path, shelf: Shelf) -> None:
    folder, running = VersionFolder(tmp_path / "state"), "0.1.0"
    for version in ("0.2.0", "0.3.0", "0.4.0"):
        shelf.offer(make_wheel(tmp_path, version))
        updater = make_updater(tmp_path, shelf, running=running)
        updater.prepare(0.0)
        updater.switch()
        folder.keep(version)
        running = version
    assert unpacked(tmp_path) == ["0.3.0", "0.4.0"]
    assert folder.take_back("bad").current == "0.3.0"


# -- what is refused -----------------------------------------------------------------------------------------------

BAD_WHEELS: dict[str, tuple[dict[str, object], str]] = {
    "a changed file": ({"replaced": {HERE: b"import os"}}, "is not the file that the wheel's RECORD names"),
    "an unlisted file": ({"replaced": {"fleetclient/evil.py": b""}}, "is not the file that the wheel's RECORD names"),
    "a way out": ({"extra": {"fleetclient/../../evil.py": b""}}, "which is no plain file"),
    "an absolute path": ({"extra": {"/tmp/evil.py": b""}}, "which is no plain file"),
    "another package": ({"extra": {"requests/__init__.py": b""}}, "which is not part of fleetclient"),
    "a file at the top": ({"extra": {"sitecustomize.py": b""}}, "which is no plain file in a folder of its own"),
    "scripts": ({"extra": {"fleetcompute_client-0.2.0.data/scripts/x": b""}}, "which is not part of fleetclient"),
    "native code": ({"extra": {"fleetclient/fast.so": b""}}, "only Python and data"),
    "another name": ({"name": "requests"}, "the wheel is requests 0.2.0"),
    "a missing library": ({"requires": ("no-such-library>=1",)}, "no-such-library>=1, which is missing"),
    "a library too old": ({"requires": ("numpy>=999",)}, "numpy>=999, here is"),
    "a library from an address": ({"requires": ("numpy @ https://evil.example/n.whl",)}, "only installed packages"),
    "another Python": ({"python": ">=4"}, "Python >=4, here is"),
}


@pytest.mark.parametrize("name", BAD_WHEELS)
def test_a_wheel_that_is_not_right_is_refused_and_leaves_nothing(tmp_path: Path, shelf: Shelf, name: str) -> None:
    changes, reason = BAD_WHEELS[name]
    shelf.offer(make_wheel(tmp_path, "0.2.0", **changes))  # type: ignore[arg-type]
    updater = make_updater(tmp_path, shelf)
    with pytest.raises(UpdateRefused, match=r"^version 0\.2\.0 cannot be installed") as refusal:
        updater.prepare(0.0)
    assert reason in str(refusal.value)
    assert reason in updater.status().reason
    assert [each for each in unpacked(tmp_path) if not each.startswith(".")] == []
    assert VersionFolder(tmp_path / "state").read() == UpdateState()
    assert not (tmp_path / "evil.py").exists()
    assert updater.prepare(25 * HOUR) == ""
    assert len(shelf.fetched) == 1


def test_requirements_that_hold_or_belong_to_extras_are_no_obstacle(tmp_path: Path) -> None:
    wheel = make_wheel(
        tmp_path, "0.2.0", requires=("numpy>=2", "no-such-library; extra == 'can'", "x; python_version < '3'")
    )
    assert unpack(wheel, versions=tmp_path / "versions", version="0.2.0").name == "0.2.0"


def test_links_and_doubled_names_are_refused(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "0.2.0")
    with zipfile.ZipFile(wheel, "a") as archive:
        link = zipfile.ZipInfo("fleetclient/link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(WheelRefused, match="no plain file"):
        unpack(wheel, versions=tmp_path / "versions", version="0.2.0")
    wheel = make_wheel(tmp_path, "0.3.0")
    with zipfile.ZipFile(wheel, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(HERE, "import os")
    with pytest.raises(WheelRefused, match="two files of one name"):
        unpack(wheel, versions=tmp_path / "versions", version="0.3.0")
    assert not (tmp_path / "versions").exists()


def test_a_wheel_cut_short_or_of_another_version_is_refused(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "0.2.0")
    with pytest.raises(WheelRefused, match=r"not fleetcompute_client-0\.9\.0\.dist-info"):
        unpack(wheel, versions=tmp_path, version="0.9.0")
    for size in (0, 10, wheel.stat().st_size // 2):
        cut = tmp_path / "cut.whl"
        cut.write_bytes(wheel.read_bytes()[:size])
        with pytest.raises(WheelRefused, match="damaged"):
            unpack(cut, versions=tmp_path, version="0.2.0")


# -- choosing ------------------------------------------------------------------------------------------------------


def reason_for(version: str, *, running: str = "0.2.0", **changes: object) -> str:
    offer = Offered(version=version, target=f"client/{version}")
    state = dataclasses.replace(UpdateState(), **changes)  # type: ignore[arg-type]
    options = UpdateOptions()
    return choose({"stable": offer}, options=options, state=state, running=running, vehicle_id="v").reason


def test_versions_only_go_up_and_what_was_taken_back_is_not_tried_again() -> None:
    assert reason_for("0.3.0") == ""
    assert reason_for("0.2.0") == "version 0.2.0 is up to date"
    assert reason_for("0.1.9") == "version 0.2.0 is up to date"
    assert reason_for("0.3.0b1", running="0.3.0") == "version 0.3.0 is up to date"
    assert reason_for("0.3.0", highest="0.4.0") == "version 0.3.0 is not above 0.4.0, which already ran here"
    assert reason_for("0.3.0", highest="0.3.0", bad={"0.3.0": "it crashed"}) == (
        "version 0.3.0 was taken back here: it crashed"
    )
    assert reason_for("0.3.1", highest="0.3.0", bad={"0.3.0": "it crashed"}) == ""
    assert reason_for("latest").startswith("'latest' is not a version")
    assert reason_for("../../0.3.0").endswith("is not a version such as 1.2.3 or 1.2.3b1")


def test_a_ring_takes_its_share_of_cars_and_growing_it_drops_none() -> None:
    cars = [f"veh_{number}" for number in range(2_000)]
    state, options = UpdateState(), UpdateOptions()

    def taking(percent: float) -> set[str]:
        offer = Offered(version="0.3.0", target="client/x.whl", ring_percent=percent)
        return {
            car
            for car in cars
            if choose({"stable": offer}, options=options, state=state, running="0.2.0", vehicle_id=car).is_wanted
        }

    assert (taking(0.0), taking(100.0)) == (set(), set(cars))
    assert 150 < len(taking(10.0)) < 250
    assert taking(10.0) < taking(50.0)
    assert len({round(ring_of("veh_1", f"client/{release}")) for release in range(50)}) > 20


def test_channels_are_apart(tmp_path: Path, shelf: Shelf) -> None:
    shelf.offer(make_wheel(tmp_path, "0.3.0b1"), channel="beta")
    assert make_updater(tmp_path, shelf).status().reason == "the fleet offers no release in the channel stable"
    assert make_updater(tmp_path, shelf, channel="beta").check().version == "0.3.0b1"


def test_versions_are_ordered_as_people_expect() -> None:
    ordered = ["0.1.0", "0.2.0a1", "0.2.0b1", "0.2.0b2", "0.2.0rc1", "0.2.0", "0.2.10", "0.10.0", "1.0.0"]
    for low, high in pairwise(ordered):
        assert is_newer(high, low)
        assert not is_newer(low, high)
    for odd in ("1", "1.2", "v1.2.3", "1.2.3.4", "1.2.3-1", " 1.2.3", "1.2.3\n", ""):
        with pytest.raises(VersionInvalid):
            is_newer(odd, "0.1.0")


@pytest.mark.parametrize(("key", "value"), [("channel", "nightly"), ("check_hours", 0.5), ("check_hours", 1e9)])
def test_odd_options_are_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(UpdateOptionsInvalid, match=f"^{key} must be"):
        UpdateOptions(**{key: value})  # type: ignore[arg-type]


# -- power cuts ----------------------------------------------------------------------------------------------------

_APPLY = """
import sys, pathlib
from fleetclient.update.updater import Updater
from fleetclient.update.options import UpdateOptions
from tests.client.update.releases import Shelf
shelf = Shelf()
shelf.offer(pathlib.Path(sys.argv[2]))
updater = Updater(options=UpdateOptions(), state_dir=pathlib.Path(sys.argv[1]), vehicle_id="veh_1", releases=shelf,
                  running="0.1.0")
if updater.prepare(0.0):
    updater.switch()
"""


@pytest.mark.parametrize(
    ("point", "is_current"),
    [
        ("update_file_unpacked", False),
        ("update_file_unpacked:4", False),
        ("update_unpacked", False),
        ("update_before_switch", False),
        ("update_switched", True),
    ],
)
def test_a_power_cut_while_updating_leaves_the_old_version_or_the_whole_new_one(
    tmp_path: Path, point: str, *, is_current: bool
) -> None:
    wheel, state = make_wheel(tmp_path, "0.2.0"), tmp_path / "state"

    def apply(fail_point: str) -> int:
        environment = {
            **os.environ,
            "PYTHONPATH": f"{CLIENT_ROOT}{os.pathsep}{CLIENT_ROOT.parent}",
            "FLEETCLIENT_FAIL_POINT": fail_point,
        }
        command = [sys.executable, "-c", _APPLY, str(state), str(wheel)]
        return subprocess.run(command, env=environment, check=False, stderr=subprocess.DEVNULL).returncode

    assert apply(point) != 0
    folder = VersionFolder(state)
    assert (folder.read().current == "0.2.0") is is_current
    assert folder.is_complete(folder.read().current)
    if not is_current:
        assert apply("") == 0
    assert folder.read().current == "0.2.0"
    assert folder.is_complete("0.2.0")
    assert [each for each in unpacked(tmp_path) if each.startswith(".")] == []


def test_the_fail_points_really_kill(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(CLIENT_ROOT), "FLEETCLIENT_FAIL_POINT": "update_unpacked"}
    wheel = make_wheel(tmp_path, "0.2.0")
    command = [sys.executable, "-m", "fleetclient.update.wheel", str(wheel), str(tmp_path), "0.2.0"]
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL


# -- health --------------------------------------------------------------------------------------------------------


def on_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Probation:
    folder = VersionFolder(tmp_path)
    folder.versions.mkdir(parents=True)
    unpack(make_wheel(tmp_path, "0.2.0"), versions=folder.versions, version="0.2.0")
    folder.switch_to("0.2.0")
    monkeypatch.setenv(RUNNING_VERSION, "0.2.0")
    return Probation(tmp_path, now=1000.0)


@pytest.mark.parametrize(
    ("after", "selftest_passed", "has_synced", "is_unreachable", "healthy"),
    [
        (1.0, True, True, False, True),
        (1.0, False, True, False, False),
        (1.0, True, False, True, False),
        (OFFLINE_SECONDS, True, False, True, True),
        (OFFLINE_SECONDS, True, False, False, False),
        (OFFLINE_SECONDS, False, False, True, False),
    ],
)
def test_healthy_is_a_passed_self_test_and_a_sync_or_a_long_run_without_a_network(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    after: float,
    selftest_passed: bool,
    has_synced: bool,
    is_unreachable: bool,
    healthy: bool,
) -> None:
    probation = on_trial(tmp_path, monkeypatch)
    assert probation.is_on_trial
    reported = probation.consider(
        1000.0 + after, selftest_passed=selftest_passed, has_synced=has_synced, is_unreachable=is_unreachable
    )
    assert reported is healthy
    assert VersionFolder(tmp_path).is_healthy("0.2.0") is healthy
    assert not healthy or not probation.consider(1e6, selftest_passed=True, has_synced=True, is_unreachable=False)


def test_the_installed_version_has_nothing_to_prove(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RUNNING_VERSION, raising=False)
    probation = Probation(tmp_path, now=0.0)
    assert not probation.consider(1.0, selftest_passed=True, has_synced=True, is_unreachable=False)
    assert not (tmp_path / "client").exists()


# -- the state folder ----------------------------------------------------------------------------------------------


def test_the_state_folder_is_found_as_the_configuration_finds_it(tmp_path: Path) -> None:
    config = tmp_path / "car.toml"
    config.write_text('state_dir = "here"\n[section-of-a-later-version]\nkey = 1\n')
    named = ["run", "--config", str(config)]
    assert find_state_dir(named, {}) == tmp_path / "here"
    assert find_state_dir(["run", f"--config={config}"], {}) == tmp_path / "here"
    assert find_state_dir(named, {"FLEET_STATE_DIR": "/by/variable"}) == Path("/by/variable")
    both = [*named, "--set", "state_dir=/by/argument"]
    assert find_state_dir(both, {"FLEET_STATE_DIR": "/by/variable"}) == Path("/by/argument")
    config.write_text('server = "https://fleet.example"\n')
    assert find_state_dir(named, {"XDG_STATE_HOME": "/xdg"}) == Path("/xdg/fleetcompute")
    assert find_state_dir(named, {"STATE_DIRECTORY": "/var/lib/car"}) == Path("/var/lib/car")
    config.write_text("not toml")
    assert find_state_dir(named, {"HOME": "/home/owner"}) == Path("/home/owner/.local/state/fleetcompute")
