"""Moving files: resumed, checked, and never in place before they are whole."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from fleetclient.cache import DigestMismatch, ModelCache
from fleetclient.network import Network, ServerRefused, Unreachable
from fleetclient.spool import Spool
from fleetclient.transfers import InputDigestMismatch, fetch_input, fetch_model, upload_output
from fleetclient.units import Result, Unit, UnitState
from fleetclient.wire import Lease, ModelRef
from tests.client.fake_fleet import FakeFleet, FakeUnit, Refused
from tests.client.support import contract_of, linear_model, make_identity

TOKEN = "t" * 22
BLOB = "api/vehicle/v1/blobs/"


class Desk:
    """A client's transfer side and a unit that the fleet has leased to it."""

    def __init__(self, folder: Path, fleet: FakeFleet, content: bytes) -> None:
        self.fleet = fleet
        self.content = content
        self.network = Network(origin=fleet.origin, identity=make_identity(folder, fleet))
        self.cache = ModelCache(folder / "cache", bytes_max=10_000_000)
        self.spool = Spool(folder)
        self.model = ModelRef(sha256=fleet.add_blob(content), bytes=len(content))
        self.unit = FakeUnit({"model": {"sha256": self.model.sha256}}, self.model.sha256, (100, 300), 1, state="leased")
        fleet.units.append(self.unit)
        fleet.replicas[TOKEN] = self.unit
        self.unit.token, self.unit.salt = TOKEN, "00" * 16

    def fetch_model(self) -> None:
        fetch_model(self.model, network=self.network, cache=self.cache, in_use=())

    def lease(self, **changes: Any) -> Lease:
        return Lease(
            **{
                "token": TOKEN,
                "contract": contract_of(linear_model()),
                "salt": "00" * 16,
                "rows": 1,
                "input_sha256": self.model.sha256,
                "input_range": (100, 300),
                "input_digest": hashlib.sha256(self.content[100:300]).hexdigest(),
                "deadline_seconds": 60.0,
                **changes,
            }
        )

    def commit(self, output: bytes) -> Unit:
        """Put an output into the spool, and its commitment into the fleet."""
        self.spool.output_path(TOKEN).write_bytes(output)
        digest = hashlib.sha256(bytes(16) + output).hexdigest()
        self.unit.commitment = {"digest": digest, "bytes": len(output)}
        self.unit.state = "committed"
        return Unit(
            sequence=1,
            lease=self.lease(),
            state=UnitState.UPLOADING,
            leased_at=0.0,
            deadline_at=None,
            result=Result(digest=digest, output_bytes=len(output), cpu_seconds=0.0),
        )

    def upload(self, unit: Unit) -> None:
        upload_output(unit, network=self.network, spool=self.spool)

    def ranges(self) -> list[str]:
        return [headers["range"] for method, _, headers in self.fleet.requests if method == "GET"]

    def patches(self) -> list[str]:
        return [headers["upload-offset"] for method, _, headers in self.fleet.requests if method == "PATCH"]


@pytest.fixture
def desk(tmp_path: Path, fleet: FakeFleet) -> Desk:
    return Desk(tmp_path, fleet, bytes(range(256)) * 4000)


def test_a_model_is_fetched_once(desk: Desk) -> None:
    desk.fetch_model()
    desk.fetch_model()
    assert desk.cache.path(desk.model.sha256).read_bytes() == desk.content
    assert desk.ranges() == ["bytes=0-1023999"]


def test_a_cut_download_goes_on_where_it_stopped(desk: Desk) -> None:
    desk.fleet.cut_downloads_at = [600_000]
    with pytest.raises(Unreachable):
        desk.fetch_model()
    assert not desk.cache.has(desk.model.sha256)
    here = desk.cache.partial_bytes(desk.model.sha256)
    assert 0 < here <= 600_000
    desk.fetch_model()
    assert desk.ranges() == ["bytes=0-1023999", f"bytes={here}-1023999"]
    assert desk.cache.path(desk.model.sha256).read_bytes() == desk.content


def test_a_server_that_ignores_ranges_starts_the_download_over(desk: Desk) -> None:
    desk.fleet.ignore_ranges = True
    desk.cache.partial_path(desk.model.sha256).write_bytes(desk.content[:1000])
    desk.fetch_model()
    assert desk.cache.path(desk.model.sha256).read_bytes() == desk.content


def test_a_damaged_download_is_thrown_away(desk: Desk) -> None:
    desk.fleet.corrupt_next_downloads = 1
    with pytest.raises(DigestMismatch):
        desk.fetch_model()
    assert desk.cache.list_models() == []
    desk.fetch_model()
    assert desk.cache.has(desk.model.sha256)


@pytest.mark.parametrize("size", [1_024_000, 2_000_000], ids=["full but wrong", "too long"])
def test_a_wrong_partial_file_does_not_stay_in_the_way(desk: Desk, size: int) -> None:
    desk.cache.partial_path(desk.model.sha256).write_bytes(b"x" * size)
    if size == len(desk.content):
        with pytest.raises(DigestMismatch):
            desk.fetch_model()
    desk.fetch_model()
    assert desk.cache.path(desk.model.sha256).read_bytes() == desk.content


def test_an_input_is_the_range_and_nothing_else(desk: Desk) -> None:
    fetch_input(desk.lease(), network=desk.network, spool=desk.spool)
    assert desk.spool.input_path(TOKEN).read_bytes() == desk.content[100:300]
    assert desk.ranges() == ["bytes=100-299"]
    desk.spool.drop_input(TOKEN)
    desk.fleet.ignore_ranges = True
    fetch_input(desk.lease(), network=desk.network, spool=desk.spool)
    assert desk.spool.input_path(TOKEN).read_bytes() == desk.content[100:300]


def test_an_input_with_another_digest_is_not_kept(desk: Desk) -> None:
    with pytest.raises(InputDigestMismatch):
        fetch_input(desk.lease(input_digest="00" * 32), network=desk.network, spool=desk.spool)
    assert not desk.spool.has_input(TOKEN)


def test_an_output_goes_up_in_pieces_of_one_mebibyte(desk: Desk) -> None:
    output = bytes(range(251)) * 10_000
    desk.upload(desk.commit(output))
    assert desk.unit.output == output
    assert desk.patches() == ["0", "1048576", "2097152"]


def test_an_upload_goes_on_from_the_servers_offset(desk: Desk) -> None:
    output = bytes(range(251)) * 10_000
    unit = desk.commit(output)
    desk.unit.upload += output[:1_500_000]
    desk.upload(unit)
    assert desk.unit.output == output
    assert desk.patches() == ["1500000"]


def test_an_offset_conflict_is_settled_by_asking(desk: Desk) -> None:
    unit = desk.commit(b"o" * 1000)
    desk.fleet.refuse_next.append((f"outputs/{TOKEN}", Refused(409, "upload_offset_conflict")))
    with pytest.raises(ServerRefused):
        desk.upload(unit)  # the HEAD was refused
    desk.upload(unit)
    assert desk.unit.output == b"o" * 1000


def test_a_repeated_upload_after_success_is_no_harm(desk: Desk) -> None:
    unit = desk.commit(b"o" * 1000)
    desk.upload(unit)
    desk.upload(unit)
    assert desk.unit.output == b"o" * 1000


def test_an_output_that_is_not_the_committed_one_is_refused_by_the_server(desk: Desk) -> None:
    unit = desk.commit(b"o" * 1000)
    desk.spool.output_path(TOKEN).write_bytes(b"x" * 1000)
    with pytest.raises(ServerRefused) as refused:
        desk.upload(unit)
    assert refused.value.problem == "output_digest_mismatch"
    assert desk.unit.state == "committed"


def test_a_sweep_keeps_what_is_to_be_run_and_what_is_to_be_offered_and_nothing_else(desk: Desk, tmp_path: Path) -> None:
    fetch_input(desk.lease(), network=desk.network, spool=desk.spool)
    done, stray = "d" * 22, "s" * 22
    desk.spool.output_path(done).write_bytes(b"whole")
    for name in (f"{stray}.safetensors", f"{stray}.part", f"{TOKEN}.part", f"{TOKEN}.safetensors", f"{done}.part"):
        (tmp_path / "outputs" / name).write_bytes(b"something")
    for name in (f"{TOKEN}.safetensors.tmp", f"{done}.safetensors"):
        (tmp_path / "inputs" / name).write_bytes(b"something")
    desk.spool.sweep(to_run={TOKEN}, to_offer={done})
    assert sorted(path.name for path in (tmp_path / "inputs").iterdir()) == [f"{TOKEN}.safetensors"]
    # The whole output of a unit that is still to run goes: the journal does not know its digest.
    assert {path.name for path in (tmp_path / "outputs").iterdir()} == {f"{TOKEN}.part", f"{done}.safetensors"}
