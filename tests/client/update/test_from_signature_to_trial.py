"""From the offline keys to a version on trial: a real repository and the real client under another version."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetclient.trust.look import LookFailed
from fleetclient.update.folder import UpdateState, VersionFolder
from fleetclient.update.options import UpdateOptions
from fleetclient.update.updater import Updater
from tests.client.support import wait_until
from tests.client.trust.scene import CarGate, Fleet, utc_now
from tests.client.update.releases import make_client_wheel, read_state, start_launcher
from workunits.trust.offline import Release, next_targets

VERSION = "99.0.0"


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    (tmp_path / "fleet").mkdir()
    made = Fleet(tmp_path / "fleet")
    yield made
    made.close()


def release(fleet: Fleet, wheel: Path, *, ring_percent: float = 100.0) -> str:
    """Let two of the three offline keys sign a release; return its path in the repository."""
    content = Release(channel="stable", file_name=wheel.name, content=wheel.read_bytes(), ring_percent=ring_percent)
    targets = fleet.repository.kept.targets
    assert targets is not None
    fleet.take(fleet.signed(next_targets(targets.signed, now=utc_now(), release=content, channels={})))
    fleet.sign()
    return f"client/{wheel.name}"


def make_updater(tmp_path: Path, gate: CarGate) -> Updater:
    return Updater(options=UpdateOptions(), state_dir=tmp_path / "state", vehicle_id="veh_1", releases=gate.gate)


def test_a_signed_release_is_fetched_checked_unpacked_and_started(tmp_path: Path, fleet: Fleet) -> None:
    gate = CarGate(tmp_path, fleet)
    release(fleet, make_client_wheel(tmp_path, VERSION))
    assert gate.gate.refresh()
    updater = make_updater(tmp_path, gate)
    assert updater.prepare(0.0) == VERSION
    assert updater.why_waiting(is_working=False, is_plugged_in=True) == ""
    updater.switch()
    state = tmp_path / "state"
    process = start_launcher(state)
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out, errors) == (0, f"fleetclient {VERSION}\n", "")
    assert read_state(state)["current"] == VERSION
    assert read_state(state)["is_on_trial"] is True


def test_a_release_that_the_web_tier_changed_is_not_taken(tmp_path: Path, fleet: Fleet) -> None:
    gate = CarGate(tmp_path, fleet)
    wheel = make_client_wheel(tmp_path, VERSION)
    release(fleet, wheel)
    name = next(name for name in fleet.served if name.endswith(wheel.name))
    fleet.served[name] = wheel.read_bytes()[:-1] + b"\1"
    assert gate.gate.refresh()
    updater = make_updater(tmp_path, gate)
    with pytest.raises(LookFailed):
        updater.prepare(0.0)
    assert VersionFolder(tmp_path / "state").read() == UpdateState()
    assert updater.why_waiting(is_working=False, is_plugged_in=True) != ""


def test_a_client_that_cannot_start_its_agent_is_taken_back(tmp_path: Path, fleet: Fleet) -> None:
    """The real client on trial with a configuration that it cannot read: three starts, then the installed version."""
    gate = CarGate(tmp_path, fleet)
    release(fleet, make_client_wheel(tmp_path, VERSION))
    gate.gate.refresh()
    updater = make_updater(tmp_path, gate)
    updater.prepare(0.0)
    updater.switch()
    state = tmp_path / "state"
    missing = str(tmp_path / "no-such-file.toml")
    process = start_launcher(state, arguments=("run", "--config", missing))
    wait_until(lambda: process.poll() is not None)
    assert process.returncode not in (0, -signal.SIGKILL)
    assert read_state(state)["current"] == ""
    assert read_state(state)["bad"] == {VERSION: "it was started 3 times and never became healthy"}
