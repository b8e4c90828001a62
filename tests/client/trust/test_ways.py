"""Looks at the repository obey what the owner says of networks, bytes, bandwidth, proxy and certificates."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from tuf.api.metadata import Targets

from fleetclient.netpolicy.options import NetworkOptionsInvalid
from fleetclient.trust.look import LookFailed, LookRequest, look
from fleetclient.trust.tally import Tally
from tests.client.network.conftest import Listener
from tests.client.network.small_proxy import SmallProxy
from tests.client.network.test_ways import PROXY_VARIABLES, make_certificates
from tests.client.trust.scene import CarGate, Fleet, _handler, utc_now
from workunits.trust.offline import CarConfig, Release, next_targets

MODEL = b"a model" * 100
ELSEWHERE = {"allowed_ssids": ("a network that is not here",)}
WHEEL = "fleetcompute_client-0.2.0-py3-none-any.whl"


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.socket.close()


@pytest.fixture
def proxy() -> Iterator[SmallProxy]:
    made = SmallProxy()
    yield made
    made.close()


def forbid_children(car: CarGate, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(request: LookRequest) -> None:
        raise AssertionError(f"a child was started: {request}")

    monkeypatch.setattr(car.gate, "_look", start)


def published_targets(fleet: Fleet) -> Targets:
    published = fleet.repository.kept.targets
    assert published is not None
    return published.signed


def release(fleet: Fleet, content: bytes) -> str:
    made = Release(channel="stable", file_name=WHEEL, content=content, ring_percent=100.0)
    targets = published_targets(fleet)
    fleet.take(fleet.signed(next_targets(targets, now=utc_now(), release=made, channels={})))
    fleet.sign()
    return f"client/{WHEEL}"


def request(folder: Path, origin: str, **members: object) -> LookRequest:
    return replace(LookRequest(origin=origin, folder=str(folder / "trust")), **members)  # type: ignore[arg-type]


# -- networks --------------------------------------------------------------------------------------------------


def test_off_the_allowed_network_no_look_is_due_no_child_starts_and_nobody_hears_of_it(
    tmp_path: Path, trusted_fleet: Fleet, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    car = CarGate(tmp_path, trusted_fleet, network=ELSEWHERE, origin=listener.origin)
    forbid_children(car, monkeypatch)
    car.gate.want([("e" * 64, 9)])
    assert not car.gate.is_due(1e9)
    assert car.gate.seconds_until_due(1e9) == float("inf")
    assert not car.gate.refresh()
    with pytest.raises(LookFailed, match="not on an allowed network"):
        car.gate.download(f"client/{WHEEL}")
    assert not listener.has_visitors()
    assert (car.log.getvalue(), car.gate.last_error) == ("", "")


def test_back_on_the_allowed_network_the_look_is_due_at_once(tmp_path: Path, trusted_fleet: Fleet) -> None:
    car, is_home = CarGate(tmp_path, trusted_fleet), [False]
    car.policy.may_send = lambda: is_home[0]
    assert [car.gate.refresh_if_due(float(now)) for now in range(3)] == [True] * 3
    assert trusted_fleet.asked == []
    is_home[0] = True
    assert car.gate.seconds_until_due(4.0) == 0.0
    assert car.gate.refresh_if_due(4.0)
    assert car.gate.stop_reason() == ""


@pytest.mark.parametrize(
    "network", [{"allowed_ssids": ["a network that is not here"]}, {"allowed_gateways": ["02:00:00:00:00:01"]}]
)
def test_the_child_looks_for_the_network_by_itself(
    network: dict[str, list[str]], tmp_path: Path, listener: Listener
) -> None:
    with pytest.raises(LookFailed) as failed:
        look(request(tmp_path, listener.origin, network=network))
    assert failed.value.code == "network_not_allowed"
    assert (failed.value.bytes_sent, failed.value.bytes_received) == (0, 0)
    assert not listener.has_visitors()


def test_the_listener_would_have_noticed(tmp_path: Path, listener: Listener) -> None:
    with pytest.raises(LookFailed) as failed:
        look(request(tmp_path, listener.origin, network={"read_seconds": 0.2}))
    assert failed.value.code == "unreachable"
    assert failed.value.bytes_sent > 0
    assert listener.has_visitors()


# -- bytes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "before"),
    [
        ({"egress_bytes_per_day_max": 5000}, {"sent_before": 5000}),
        ({"daily_bytes_max": 90_000}, {"moved_before": 90_000}),
    ],
)
def test_when_the_days_bytes_are_spent_no_child_starts(
    network: dict[str, int],
    before: dict[str, int],
    tmp_path: Path,
    trusted_fleet: Fleet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    car = CarGate(tmp_path, trusted_fleet, network=network, meter=Tally(**before))
    forbid_children(car, monkeypatch)
    assert not car.gate.is_due(1e9)
    assert not car.gate.refresh()
    assert (trusted_fleet.asked, car.log.getvalue(), car.gate.last_error) == ([], "", "")


def test_what_is_left_of_the_day_bounds_a_look(tmp_path: Path, trusted_fleet: Fleet) -> None:
    whole = CarGate(tmp_path / "whole", trusted_fleet)
    assert whole.gate.refresh()
    cost, asked = whole.meter.bytes_moved, len(trusted_fleet.asked)
    before, limit = 1_000_000, 1_000_000 + cost // 2
    car = CarGate(
        tmp_path / "half", trusted_fleet, network={"daily_bytes_max": limit}, meter=Tally(moved_before=before)
    )
    assert not car.gate.refresh()
    assert car.error == "budget_exhausted"
    assert before < car.meter.bytes_moved < before + cost
    assert asked < len(trusted_fleet.asked) < 2 * asked


def test_the_signed_budget_holds_for_the_next_look(tmp_path: Path, trusted_fleet: Fleet) -> None:
    car = CarGate(tmp_path, trusted_fleet)
    assert car.gate.refresh()
    config = CarConfig(origins=(trusted_fleet.origin,), egress_bytes_per_day=car.meter.sent // 2)
    targets = published_targets(trusted_fleet)
    trusted_fleet.take(trusted_fleet.signed(next_targets(targets, now=utc_now(), config=config)))
    trusted_fleet.sign()
    assert car.gate.refresh()
    asked = len(trusted_fleet.asked)
    assert not car.gate.refresh()
    assert car.error == "budget_exhausted"
    assert len(trusted_fleet.asked) == asked
    assert car.gate.stop_reason() == ""


def test_a_release_leaves_the_last_bytes_of_the_day_to_the_fleets_word(tmp_path: Path, trusted_fleet: Fleet) -> None:
    target = release(trusted_fleet, bytes(400_000))
    limits = {"daily_bytes_max": 2_000_000}
    car = CarGate(tmp_path, trusted_fleet, network=limits, meter=Tally(moved_before=1_700_000))
    assert car.gate.refresh()
    with pytest.raises(LookFailed) as failed:
        car.gate.download(target)
    assert failed.value.code == "budget_exhausted"
    assert 1_900_000 < car.meter.bytes_moved < 2_000_000
    assert car.gate.refresh()


def test_a_release_comes_no_faster_than_the_bandwidth_cap(tmp_path: Path, trusted_fleet: Fleet) -> None:
    target = release(trusted_fleet, bytes(300_000))
    car = CarGate(tmp_path, trusted_fleet, network={"bandwidth_mbit_per_s": 1.0})
    assert car.gate.refresh()
    began_at = time.monotonic()
    assert car.gate.download(target).stat().st_size == 300_000
    assert time.monotonic() - began_at > (300_000 - 2 * 64 * 1024) / 125_000


# -- proxy and certificates ------------------------------------------------------------------------------------


def test_every_file_comes_through_the_proxy(tmp_path: Path, trusted_fleet: Fleet, proxy: SmallProxy) -> None:
    model = trusted_fleet.admit(MODEL)
    car = CarGate(tmp_path, trusted_fleet, network={"proxy": f"http://owner:secret@127.0.0.1:{proxy.port}"})
    car.gate.want([model])
    assert car.gate.refresh()
    assert car.gate.is_admitted(*model)
    assert len(proxy.asked) == len(trusted_fleet.asked) > 0
    assert {password for _, _, password in proxy.asked} == {"Basic b3duZXI6c2VjcmV0"}


def test_the_environments_proxy_is_used_unless_the_options_say_none(
    tmp_path: Path, trusted_fleet: Fleet, proxy: SmallProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", proxy.address)
    assert CarGate(tmp_path, trusted_fleet, network={"proxy": "none"}).gate.refresh()
    assert proxy.asked == []
    assert CarGate(tmp_path, trusted_fleet).gate.refresh()
    assert proxy.asked != []


@pytest.fixture
def tls(tmp_path: Path, trusted_fleet: Fleet) -> Iterator[str]:
    """The same repository behind TLS; its certificate authority is `ca.pem` in the test's folder."""
    _, server_file = make_certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server_file)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(trusted_fleet))
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"https://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_repository_is_read_with_the_owners_certificate_authority_and_not_without(
    tmp_path: Path, trusted_fleet: Fleet, tls: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    stranger = CarGate(tmp_path, trusted_fleet, origin=tls)
    assert not stranger.gate.refresh()
    assert stranger.error == "unreachable"
    assert "CERTIFICATE_VERIFY_FAILED" in stranger.gate.last_error
    assert trusted_fleet.asked == []
    car = CarGate(tmp_path, trusted_fleet, origin=tls, network={"ca_file": "ca.pem"})
    assert car.gate.refresh(), car.gate.last_error


def test_a_certificate_file_that_has_gone_is_named(tmp_path: Path, trusted_fleet: Fleet) -> None:
    car = CarGate(tmp_path, trusted_fleet, network={"ca_file": "none.pem"})
    assert not car.gate.refresh()
    assert car.error == NetworkOptionsInvalid.code
    assert f"ca_file: there is no file {tmp_path}/none.pem" in car.gate.last_error
    assert trusted_fleet.asked == []
