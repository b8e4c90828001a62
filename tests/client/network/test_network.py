"""The one module that speaks HTTP: signatures, mended clocks and counters, refusals, and what it never does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fleetclient import wire
from fleetclient.identity import Identity
from fleetclient.netpolicy.options import NetworkOptions
from fleetclient.network import (
    ANSWER_BYTES_MAX,
    Network,
    NetworkPolicy,
    ServerRefused,
    Unreachable,
    VehicleRevoked,
)
from tests.client.fake_fleet import FakeFleet, Refused
from tests.client.support import add_units, make_identity

EMPTY_SYNC = wire.encode_sync_request(
    wire.SyncRequest(
        agent=wire.AgentInfo(version="0.1.0", runtime="onnxruntime/1.32.0", comparison_class="cpu"),
        eligible=True,
        reasons=(),
        capacity=wire.Capacity(replicas=0, memory_bytes=1, opset_max=23),
        models=(),
        held=(),
        commitments=(),
        returned=(),
    )
)


@pytest.fixture
def identity(tmp_path: Path, fleet: FakeFleet) -> Identity:
    return make_identity(tmp_path, fleet)


@pytest.fixture
def network(identity: Identity, fleet: FakeFleet) -> Network:
    return Network(origin=fleet.origin, identity=identity)


def test_a_sync_is_signed_and_its_answer_is_read(network: Network, fleet: FakeFleet) -> None:
    fleet.next_sync_seconds = 7.5
    answer = network.sync(EMPTY_SYNC)
    assert answer.next_sync_seconds == 7.5
    _, path, headers = fleet.requests[0]
    assert path == wire.SYNC_PATH
    assert headers["content-type"] == wire.FRAME_CONTENT_TYPE
    assert headers["user-agent"] == "fleetclient/0.1.0"


def test_a_wrong_clock_is_mended_by_an_offset_from_the_servers_date(network: Network, fleet: FakeFleet) -> None:
    fleet.clock_offset_seconds = 4000.0
    network.sync(EMPTY_SYNC)
    assert len(fleet.syncs) == 1
    assert 3990.0 < network.clock_offset_seconds < 4010.0
    network.sync(EMPTY_SYNC)
    assert len(fleet.requests) == 3, "the second sync needed no mending"


def test_a_clock_that_cannot_be_mended_is_an_error_after_one_attempt(network: Network, fleet: FakeFleet) -> None:
    fleet.refuse_next += [("sync", Refused(401, "signature_expired"))] * 3
    with pytest.raises(ServerRefused) as refused:
        network.sync(EMPTY_SYNC)
    assert refused.value.problem == "signature_expired"
    assert len(fleet.requests) == 2


def test_a_counter_that_fell_behind_leaps_ahead(network: Network, identity: Identity, fleet: FakeFleet) -> None:
    fleet.last_counter["veh_test"] = 1_000_000
    network.sync(EMPTY_SYNC)
    assert len(fleet.syncs) == 1
    assert identity.counter.take() > 1_000_000


def test_every_request_has_a_greater_counter_than_the_one_before(network: Network, fleet: FakeFleet) -> None:
    for _ in range(3):
        network.sync(EMPTY_SYNC)
    counters = [int(headers["signature-input"].split('nonce="')[1].split('"')[0]) for _, _, headers in fleet.requests]
    assert counters == sorted(set(counters))


def test_a_refusal_carries_its_code_and_retry_after(network: Network, fleet: FakeFleet) -> None:
    fleet.refuse_next.append(("sync", Refused(503, "overloaded", headers={"Retry-After": "17"})))
    with pytest.raises(ServerRefused) as refused:
        network.sync(EMPTY_SYNC)
    assert (refused.value.status, refused.value.problem) == (503, "overloaded")
    assert refused.value.retry_after_seconds == 17.0


def test_a_revoked_vehicle_is_an_error_of_its_own(network: Network, fleet: FakeFleet) -> None:
    fleet.refuse_next.append(("sync", Refused(403, "vehicle_revoked")))
    with pytest.raises(VehicleRevoked) as revoked:
        network.sync(EMPTY_SYNC)
    assert revoked.value.retryable is False


def test_a_server_that_is_not_there_is_unreachable(network: Network, fleet: FakeFleet) -> None:
    fleet.stop()
    with pytest.raises(Unreachable):
        network.sync(EMPTY_SYNC)


class _Odd(BaseHTTPRequestHandler):
    """A server that redirects, answers without end, or with what is no answer."""

    visited: list[str]

    def do_POST(self) -> None:
        self.visited.append(self.path)
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == wire.SYNC_PATH:
            self.send_response(307)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self.send_response(200)
            self.end_headers()
            for _ in range(ANSWER_BYTES_MAX // 65536 + 2):
                self.wfile.write(b" " * 65536)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its signature
        pass


@pytest.fixture
def odd(identity: Identity) -> Iterator[tuple[Network, list[str]]]:
    visited: list[str] = []
    handler = type("Handler", (_Odd,), {"visited": visited})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    policy = NetworkPolicy(options=NetworkOptions(bandwidth_mbit_per_s=0.0))
    yield Network(origin=f"http://127.0.0.1:{server.server_address[1]}", identity=identity, policy=policy), visited
    server.shutdown()
    server.server_close()


def test_a_redirect_is_not_followed(odd: tuple[Network, list[str]]) -> None:
    network, visited = odd
    with pytest.raises(ServerRefused) as refused:
        network.sync(EMPTY_SYNC)
    assert refused.value.problem == "http_307"
    assert visited == [wire.SYNC_PATH]


def test_an_answer_without_end_is_cut(odd: tuple[Network, list[str]]) -> None:
    network, _ = odd
    with pytest.raises(Unreachable, match="too large"):
        network.pair_device({})


def test_a_download_is_followed_from_zero_by_a_server_without_ranges(network: Network, fleet: FakeFleet) -> None:
    add_units(fleet, 1)
    unit = fleet.units[0]
    unit.state = "leased"
    pieces: list[tuple[int, bytes]] = []
    fleet.ignore_ranges = True
    content = fleet.blobs[unit.input_sha256]
    network.download(
        wire.BLOBS_PATH + unit.input_sha256, start=6, end=20, write=lambda at, piece: pieces.append((at, piece))
    )
    assert pieces == [(0, content[:20])]
    fleet.ignore_ranges = False
    pieces.clear()
    network.download(
        wire.BLOBS_PATH + unit.input_sha256, start=6, end=20, write=lambda at, piece: pieces.append((at, piece))
    )
    assert pieces == [(6, content[6:20])]


def test_a_download_that_ends_early_is_unreachable(network: Network, fleet: FakeFleet) -> None:
    add_units(fleet, 1)
    fleet.units[0].state = "leased"
    fleet.cut_downloads_at = [3]
    with pytest.raises(Unreachable):
        network.download(wire.BLOBS_PATH + fleet.units[0].input_sha256, start=0, end=20, write=lambda _at, _piece: None)
