"""Renewing the key: both keys are kept until it is certain, whatever breaks in between."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fleetclient.identity import Identity
from fleetclient.logs import Log
from fleetclient.network import Network, ServerRefused, Unreachable
from fleetclient.signing import DirectorSignatureInvalid
from tests.client.fake_fleet import FakeFleet, Refused
from tests.client.network.messages import EMPTY_SYNC


def reopened(tmp_path: Path) -> Identity:
    return Identity(tmp_path / "state" / "identity")


def test_a_renewed_key_signs_what_follows_and_survives_a_restart(
    network: Network, identity: Identity, fleet: FakeFleet, tmp_path: Path
) -> None:
    old = identity.public_key
    network.sync(EMPTY_SYNC)
    network.rotate_key()
    assert identity.public_key != old
    assert fleet.vehicles["veh_test"] == identity.public_key
    network.sync(EMPTY_SYNC)
    again = reopened(tmp_path)
    assert (again.public_key, again.is_rotating) == (identity.public_key, False)
    Network(origin=fleet.origin, identity=again).sync(EMPTY_SYNC)
    assert not (tmp_path / "state/identity/key.next").exists()
    assert stat.S_IMODE((tmp_path / "state/identity/key").stat().st_mode) == 0o600


def test_a_rotation_whose_answer_was_lost_is_finished_before_anything_else_is_said(
    network: Network, fleet: FakeFleet, tmp_path: Path
) -> None:
    fleet.drop_answers = 1
    with pytest.raises(Unreachable):
        network.rotate_key()
    again = reopened(tmp_path)
    assert again.is_rotating
    assert fleet.vehicles["veh_test"] != again.public_key, "the server has the new key, the car signs with the old one"
    Network(origin=fleet.origin, identity=again).sync(EMPTY_SYNC)
    assert [path.rpartition("/v1/")[2] for _, path, _ in fleet.requests] == ["pair/rotate", "pair/rotate", "sync"]
    assert fleet.rotations == 1
    assert fleet.vehicles["veh_test"] == again.public_key


def test_a_key_that_was_made_but_never_sent_is_sent_first(fleet: FakeFleet, identity: Identity, tmp_path: Path) -> None:
    made = identity.begin_rotation().public_key().public_bytes_raw()
    again = reopened(tmp_path)
    Network(origin=fleet.origin, identity=again).sync(EMPTY_SYNC)
    assert fleet.vehicles["veh_test"] == again.public_key == made


PROGRAM = """
import sys
from pathlib import Path
from fleetclient.identity import Identity
from fleetclient.logs import Log
from fleetclient.network import Network
Network(origin=sys.argv[1], identity=Identity(Path(sys.argv[2]))).rotate_key()
"""


@pytest.mark.parametrize(
    "fail_point", ["file_written@key.next", "file_synced@key.next", "file_renamed@key.next", "file_synced@key",
                   "file_renamed@key:2"],
)  # fmt: skip
def test_a_power_cut_at_any_step_leaves_a_car_that_syncs(
    fail_point: str, fleet: FakeFleet, identity: Identity, tmp_path: Path
) -> None:
    folder = tmp_path / "state" / "identity"
    env = {**os.environ, "FLEETCLIENT_FAIL_POINT": fail_point, "PYTHONPATH": os.pathsep.join(sys.path)}
    died = subprocess.run([sys.executable, "-c", PROGRAM, fleet.origin, str(folder)], env=env, check=False)
    assert died.returncode == -9
    again = reopened(tmp_path)
    Network(origin=fleet.origin, identity=again).sync(EMPTY_SYNC)
    assert fleet.vehicles["veh_test"] == again.public_key
    assert not again.is_rotating
    assert fleet.rotations <= 1
    assert identity.vehicle_id == again.vehicle_id


@pytest.mark.parametrize(
    ("status", "problem"), [(404, "not_found"), (422, "rotation_proof_invalid"), (409, "key_already_paired")]
)
def test_a_rotation_that_the_server_will_never_take_leaves_the_old_key(
    status: int, problem: str, network: Network, identity: Identity, fleet: FakeFleet, tmp_path: Path
) -> None:
    old = identity.public_key
    fleet.refuse_next.append(("pair/rotate", Refused(status, problem)))
    with pytest.raises(ServerRefused, match=problem):
        network.rotate_key()
    assert (identity.public_key, identity.is_rotating, reopened(tmp_path).is_rotating) == (old, False, False)
    network.sync(EMPTY_SYNC)


def test_a_busy_server_leaves_both_keys_for_later(network: Network, identity: Identity, fleet: FakeFleet) -> None:
    fleet.refuse_next.append(("pair/rotate", Refused(503, "unavailable")))
    with pytest.raises(ServerRefused, match="unavailable"):
        network.rotate_key()
    assert identity.is_rotating
    network.sync(EMPTY_SYNC)
    assert (identity.is_rotating, fleet.rotations) == (False, 1)


def test_an_answer_that_the_director_did_not_sign_confirms_nothing(
    network: Network, identity: Identity, fleet: FakeFleet
) -> None:
    old = identity.public_key
    fleet.answer_tamper = b" "
    with pytest.raises(DirectorSignatureInvalid):
        network.rotate_key()
    assert (identity.public_key, identity.is_rotating) == (old, True)
    fleet.answer_tamper = b""
    network.sync(EMPTY_SYNC)
    assert fleet.vehicles["veh_test"] == identity.public_key


def test_syncs_under_way_while_the_key_changes_get_through(
    make_network: Callable[..., Network], identity: Identity, fleet: FakeFleet
) -> None:
    network = make_network()
    errors: list[Exception] = []

    def sync_often() -> None:
        try:
            for _ in range(20):
                network.head("/api/vehicle/v1/outputs/x")
        except ServerRefused as refused:
            if refused.status != 404:
                errors.append(refused)

    threads = [threading.Thread(target=sync_often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        network.rotate_key()
    for thread in threads:
        thread.join()
    assert errors == []
    assert fleet.rotations == 3
    assert fleet.vehicles["veh_test"] == identity.public_key


def make_old(tmp_path: Path, days: float) -> None:
    made_at = time.time() - days * 86_400
    os.utime(tmp_path / "state/identity/key", (made_at, made_at))


def test_a_key_is_renewed_by_itself_once_it_is_ninety_days_old(
    network: Network, identity: Identity, fleet: FakeFleet, tmp_path: Path
) -> None:
    make_old(tmp_path, 89.9)
    network.sync(EMPTY_SYNC)
    assert fleet.rotations == 0
    make_old(tmp_path, 90.1)
    network.sync(EMPTY_SYNC)
    assert fleet.rotations == 1
    assert identity.key_age_seconds() < 60
    network.sync(EMPTY_SYNC)
    assert fleet.rotations == 1


def test_an_old_key_that_the_server_will_not_renew_is_tried_again_the_next_day_and_syncs_go_on(
    make_network: Callable[..., Network], fleet: FakeFleet, tmp_path: Path
) -> None:
    now, stream = [0.0], io.StringIO()
    network = make_network({"now": lambda: now[0], "log": Log(stream=stream)})
    make_old(tmp_path, 100)
    fleet.refuse_next.append(("pair/rotate", Refused(404, "not_found")))
    for _ in range(3):
        network.sync(EMPTY_SYNC)
    assert (fleet.rotations, stream.getvalue().count("key_not_renewed")) == (0, 1)
    now[0] += 86_400
    network.sync(EMPTY_SYNC)
    assert fleet.rotations == 1
