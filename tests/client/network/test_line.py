"""Clock, circuit breaker, odd answers, IPv6: what every request meets on its way."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from fleetclient import wire
from fleetclient.identity import Identity
from fleetclient.logs import Log
from fleetclient.netpolicy.breaker import OPEN_SECONDS, CircuitOpen
from fleetclient.netpolicy.refusals import read_retry_after
from fleetclient.netpolicy.skew import ClockSkew
from fleetclient.network import Network, NetworkPolicy, ServerRefused, Unreachable, VehicleRevoked
from tests.client.fake_fleet import FakeFleet, Refused
from tests.client.network.messages import EMPTY_SYNC


class Times:
    def __init__(self) -> None:
        self.now = 1000.0

    def read(self) -> float:
        return self.now


def events(stream: io.StringIO, name: str) -> int:
    return stream.getvalue().count(f'"{name}"')


def test_a_server_that_turns_the_car_away_is_left_alone_for_an_hour_and_it_is_said_once(
    make_network: Callable[..., Network], fleet: FakeFleet
) -> None:
    clock, stream = Times(), io.StringIO()
    network = make_network({"now": clock.read, "log": Log(stream=stream)})
    fleet.refuse_next += [("sync", Refused(401, "vehicle_unknown"))] * 4
    for _ in range(3):
        with pytest.raises(ServerRefused, match="vehicle_unknown"):
            network.sync(EMPTY_SYNC)
    for _ in range(5):
        with pytest.raises(CircuitOpen) as opened:
            network.sync(EMPTY_SYNC)
        assert opened.value.retry_after_seconds == OPEN_SECONDS
    assert len(fleet.requests) == 3
    clock.now += OPEN_SECONDS
    with pytest.raises(ServerRefused, match="vehicle_unknown"):
        network.sync(EMPTY_SYNC)
    with pytest.raises(CircuitOpen):
        network.sync(EMPTY_SYNC)
    assert len(fleet.requests) == 4, "one attempt after the hour"
    assert events(stream, "turned_away") == 1
    clock.now += OPEN_SECONDS
    network.sync(EMPTY_SYNC)
    network.sync(EMPTY_SYNC)


def test_a_refusal_about_one_replica_says_nothing_about_the_car(network: Network, fleet: FakeFleet) -> None:
    fleet.refuse_next += [("outputs/", Refused(403, "replica_not_yours"))] * 10
    for _ in range(5):
        with pytest.raises(ServerRefused, match="replica_not_yours"):
            network.patch(wire.OUTPUTS_PATH + "x", b"x", {})
        with pytest.raises(ServerRefused, match="http_403"):
            network.head(wire.OUTPUTS_PATH + "x")
    network.sync(EMPTY_SYNC)


def test_a_good_answer_in_between_is_a_new_beginning(network: Network, fleet: FakeFleet) -> None:
    for _ in range(4):
        fleet.refuse_next += [("sync", Refused(401, "signature_invalid"))] * 2
        for _ in range(2):
            with pytest.raises(ServerRefused, match="signature_invalid"):
                network.sync(EMPTY_SYNC)
        network.sync(EMPTY_SYNC)


def test_a_revoked_car_stays_revoked(network: Network, fleet: FakeFleet) -> None:
    fleet.refuse_next += [("sync", Refused(403, "vehicle_revoked"))] * 5
    for _ in range(5):
        with pytest.raises(VehicleRevoked):
            network.sync(EMPTY_SYNC)


@pytest.mark.parametrize("offset", [-86_400.0, -90.0, 0.0, 90.0, 4000.0])
def test_the_clocks_difference_is_measured_and_the_signatures_fit(
    offset: float, network: Network, fleet: FakeFleet
) -> None:
    assert network.clock_skew_seconds is None
    fleet.clock_offset_seconds = offset
    network.sync(EMPTY_SYNC)
    assert network.clock_skew_seconds == pytest.approx(offset, abs=3)
    assert network.clock_offset_seconds == pytest.approx(offset, abs=3)
    network.sync(EMPTY_SYNC)


def test_half_of_the_journey_is_taken_off() -> None:
    skew = ClockSkew(boot=lambda: 104.0, wall=lambda: 5004.0)
    # Asked at 100, answered at 104 with what the server's clock showed at 102: 5012 against this machine's 5002.
    skew.observe(5012.0, sent_at=100.0, received_at=104.0, is_believed=True)
    assert skew.seconds == 10.0


def test_a_small_difference_is_left_alone() -> None:
    skew = ClockSkew(boot=lambda: 100.0, wall=lambda: 5000.0)
    skew.observe(5004.0, sent_at=100.0, received_at=100.0, is_believed=True)
    assert (skew.seconds, skew.offset_seconds) == (4.0, 0.0)


def test_a_jump_of_the_servers_clock_is_logged_and_not_believed_from_an_unsigned_date_alone() -> None:
    stream = io.StringIO()
    skew = ClockSkew(Log(stream=stream), boot=lambda: 100.0, wall=lambda: 5000.0)
    skew.observe(5000.0, sent_at=100.0, received_at=100.0, is_believed=True)
    skew.observe(9000.0, sent_at=100.0, received_at=100.0, is_believed=False)
    assert skew.offset_seconds == 0.0
    assert events(stream, "server_clock_jumped") == 1
    skew.observe(5000.0, sent_at=100.0, received_at=100.0, is_believed=False)
    skew.observe(9000.0, sent_at=100.0, received_at=100.0, is_believed=False)
    assert skew.offset_seconds == 0.0, "the doubt was forgotten in between"
    skew.observe(9000.0, sent_at=100.0, received_at=100.0, is_believed=False)
    assert skew.offset_seconds == 4000.0, "it was said twice"
    skew.observe(5000.0, sent_at=100.0, received_at=100.0, is_believed=True)
    assert skew.offset_seconds == 0.0, "the director signed it"


def test_this_machines_clock_may_be_set_without_a_doubt() -> None:
    stream, wall = io.StringIO(), [0.0]
    skew = ClockSkew(Log(stream=stream), boot=lambda: 100.0, wall=lambda: wall[0])
    skew.observe(1e9, sent_at=100.0, received_at=100.0, is_believed=False)
    assert skew.offset_seconds == 1e9
    wall[0] = 1e9
    assert skew.offset_seconds == 0.0, "at once, before the next answer"
    skew.observe(1e9, sent_at=100.0, received_at=100.0, is_believed=False)
    assert events(stream, "server_clock_jumped") == 0


def test_a_clock_that_is_off_by_more_than_a_minute_is_said_once() -> None:
    stream = io.StringIO()
    skew = ClockSkew(Log(stream=stream), boot=lambda: 100.0, wall=lambda: 5000.0)
    for server in (5061.0, 5062.0, 5010.0, 5070.0):
        skew.observe(server, sent_at=100.0, received_at=100.0, is_believed=True)
    assert events(stream, "clock_is_off") == 2, "once, and again after it had been right"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("17", 17.0), ("-3", 0.0), ("1e400", None), ("nan", None), ("soon", None), ("", None), (None, None)],
)
def test_retry_after_is_read_or_left_aside(header: str | None, seconds: float | None) -> None:
    assert read_retry_after(header) == seconds


def test_retry_after_may_be_a_date() -> None:
    stamp = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 100))
    assert read_retry_after(stamp) == pytest.approx(100, abs=2)
    assert read_retry_after("Thu, 01 Jan 1970 00:00:00 GMT") == 0.0


class _Zipped(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", "10")
        self.end_headers()
        self.wfile.write(bytes(10))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its signature
        pass


def serve(handler: type[BaseHTTPRequestHandler], host: str = "127.0.0.1") -> ThreadingHTTPServer:
    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    server = Server((host, 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server


@pytest.fixture
def zipped() -> Iterator[str]:
    server = serve(_Zipped)
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_compressed_answer_is_refused_unread(identity: Identity, zipped: str) -> None:
    network = Network(origin=zipped, identity=identity)
    pieces: list[bytes] = []
    with pytest.raises(Unreachable, match="encoded"):
        network.download(wire.BLOBS_PATH + "x", start=0, end=9, write=lambda _at, piece: pieces.append(piece))
    assert pieces == []


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_a_server_with_an_ipv6_address_is_reached(identity: Identity, fleet: FakeFleet) -> None:
    from tests.client.fake_fleet import _Handler

    server = serve(type("Handler", (_Handler,), {"fleet": fleet}), "::1")
    try:
        network = Network(
            origin=f"http://[::1]:{server.server_address[1]}",
            identity=identity,
            policy=NetworkPolicy(signed_origins=lambda: (f"http://[0:0:0:0:0:0:0:1]:{server.server_address[1]}",)),
        )
        with pytest.raises(Exception, match="does not name"):
            network.sync(EMPTY_SYNC)
        network.policy.signed_origins = lambda: (f"http://[::1]:{server.server_address[1]}",)
        network.sync(EMPTY_SYNC)
    finally:
        server.shutdown()
        server.server_close()
    assert len(fleet.syncs) == 1


def test_the_environment_adds_nothing_to_a_request(
    network: Network, fleet: FakeFleet, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"  # type: ignore[operator]
    netrc.write_text("machine 127.0.0.1 login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    network.sync(EMPTY_SYNC)
    _, _, headers = fleet.requests[0]
    assert set(headers) == {
        "host", "user-agent", "accept-encoding", "content-type", "content-length",
        "content-digest", "signature-input", "signature",
    }  # fmt: skip
