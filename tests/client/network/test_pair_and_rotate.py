"""`pair` shows whose signatures the car will believe; `rotate-key` renews the car's key by hand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleetclient.identity import Identity
from fleetclient.state import StateFolder
from fleetclient.usage import UsageMeter
from tests.client.fake_fleet import FakeFleet, Refused
from tests.client.support import CarProcess, wait_until
from tests.client.trust.scene import PREFIX, Fleet

MakeProcess = Callable[..., CarProcess]


@pytest.fixture
def trusted(tmp_path: Path, fleet: FakeFleet, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The fake fleet with a repository of signed models behind the same origin."""
    (tmp_path / "repository").mkdir()
    signed, handle = Fleet(tmp_path / "repository"), fleet.handle

    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        if not path.startswith(PREFIX):
            return handle(method, path, headers, body)
        signed.asked.append(path)
        content = signed.served.get(path.removeprefix(PREFIX))
        return (200, {}, content) if isinstance(content, bytes) else (404, {}, b"")

    monkeypatch.setattr(fleet, "handle", answer)
    yield signed
    signed.close()


def believe(process: CarProcess, fleet: FakeFleet, network: str = "") -> None:
    process.config.write_text(f'server = "{fleet.origin}"\nstate_dir = "state"\n[network]\n{network}\n')


def key_of(process: CarProcess) -> bytes:
    return Identity(process.state / "identity").public_key


def test_pairing_ends_with_the_fingerprint_to_compare_and_counts_its_bytes(
    fleet: FakeFleet, trusted: Fleet, car_process: MakeProcess
) -> None:
    process = car_process()
    believe(process, fleet)
    paired = process.run("pair")
    assert paired.returncode == 0, paired.stderr
    root = trusted.served["1.root.json"]
    assert isinstance(root, bytes)
    fingerprint = hashlib.sha256(root).hexdigest()
    line = f"Fleet root fingerprint: {fingerprint}   (compare it with the operator's)"
    assert paired.stdout.splitlines()[-1] == line
    assert process.run("pair").stdout.splitlines()[-1] == line
    assert json.loads(process.run("trust", "show", "--json").stdout)["root_sha256"] == fingerprint
    today = UsageMeter(StateFolder(process.state).usage).today()
    assert today.bytes_sent > 1000
    assert today.bytes_received > len(root)


def test_a_car_is_paired_even_where_the_repository_cannot_be_read(fleet: FakeFleet, car_process: MakeProcess) -> None:
    process = car_process()
    believe(process, fleet)
    paired = process.run("pair")
    assert paired.returncode == 0, paired.stderr
    assert paired.stdout.splitlines()[-1].startswith("The fleet's signed files could not be read yet: ")
    assert Identity(process.state / "identity").vehicle_id in fleet.vehicles


def test_rotate_key_gives_the_car_a_new_key_that_the_server_knows(fleet: FakeFleet, car_process: MakeProcess) -> None:
    process = car_process()
    process.run("pair")
    old = key_of(process)
    renewed = process.run("rotate-key", "--json")
    assert renewed.returncode == 0, renewed.stderr
    document = json.loads(renewed.stdout)
    new = key_of(process)
    assert new != old
    assert document == {"rotated": True, "vehicle_id": document["vehicle_id"], "public_key": new.hex()}
    assert fleet.vehicles[document["vehicle_id"]] == new
    assert fleet.rotations == 1


def test_a_key_that_the_server_will_not_take_leaves_the_old_one(fleet: FakeFleet, car_process: MakeProcess) -> None:
    process = car_process()
    process.run("pair")
    old = key_of(process)
    fleet.refuse_next.append(("pair/rotate", Refused(404, "not_found")))
    refused = process.run("rotate-key")
    assert refused.returncode == 1
    assert "not_found" in refused.stderr
    assert key_of(process) == old
    assert fleet.rotations == 0


def test_a_car_that_is_not_paired_has_no_key_to_renew(fleet: FakeFleet, car_process: MakeProcess) -> None:
    refused = car_process().run("rotate-key")
    assert (refused.returncode, refused.stderr) == (
        1,
        "fleetclient: this car is not paired yet: fleetclient pair\n",
    )
    assert fleet.requests == []


def test_no_key_is_renewed_behind_a_running_agents_back(fleet: FakeFleet, car_process: MakeProcess) -> None:
    process = car_process().start()
    wait_until(lambda: bool(fleet.syncs))
    old = key_of(process)
    refused = process.run("rotate-key")
    assert refused.returncode == 1
    assert "stop it first" in refused.stderr
    assert (key_of(process), fleet.rotations) == (old, 0)


@pytest.mark.parametrize("words", [["rotate-key"], ["update", "check"], ["update", "apply"]])
def test_off_the_allowed_network_no_command_makes_a_connection(
    words: list[str], fleet: FakeFleet, trusted: Fleet, car_process: MakeProcess
) -> None:
    process = car_process()
    believe(process, fleet)
    process.run("pair")
    old, asked = key_of(process), [*fleet.requests, *trusted.asked]
    assert trusted.asked
    believe(process, fleet, 'allowed_ssids = ["a network that is not here"]')
    refused = process.run(*words)
    assert refused.returncode == 1
    assert "not on an allowed network" in refused.stdout + refused.stderr
    assert [*fleet.requests, *trusted.asked] == asked
    assert key_of(process) == old
