"""Nothing leaves on a network that is not allowed, and nothing goes to any other server than the signed one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fleetclient import wire
from fleetclient.identity import Identity
from fleetclient.netpolicy.gate import NetworkNotAllowed, OriginRefused, SendGate, origin_of
from fleetclient.netpolicy.options import NetworkOptions
from fleetclient.netpolicy.policy import NetworkPolicy
from fleetclient.network import Network, Unreachable
from fleetclient.usage import UsageMeter
from tests.client.fake_fleet import FakeFleet
from tests.client.network.conftest import Listener
from tests.client.network.messages import CALLS, EMPTY_SYNC
from tests.client.support import add_units


def test_every_public_call_of_a_network_is_tried_here() -> None:
    public = {name for name, value in vars(Network).items() if callable(value) and not name.startswith("_")}
    names = {"get_account": "account"}
    assert {names.get(name, name) for name in public - {"adopt_identity", "close"}} == set(CALLS)


@pytest.mark.parametrize("name", CALLS)
def test_not_one_connection_is_made_off_the_allowed_network(name: str, identity: Identity, listener: Listener) -> None:
    key = identity.public_key
    network = Network(origin=listener.origin, identity=identity, policy=NetworkPolicy(may_send=lambda: False))
    with pytest.raises(NetworkNotAllowed):
        CALLS[name](network)
    assert not listener.has_visitors()
    assert identity.public_key == key


@pytest.mark.parametrize(
    "options", [{"allowed_ssids": ("a network that is not here",)}, {"allowed_gateways": ("02:00:00:00:00:01",)}]
)
def test_naming_a_network_is_enough_to_guard_every_way_out(
    options: dict[str, tuple[str, ...]], identity: Identity, listener: Listener
) -> None:
    policy = NetworkPolicy(options=NetworkOptions(**options))  # type: ignore[arg-type]
    network = Network(origin=listener.origin, identity=identity, policy=policy)
    for call in CALLS.values():
        with pytest.raises(NetworkNotAllowed):
            call(network)
    assert not listener.has_visitors()
    assert policy.place is not None


def test_the_listener_would_have_noticed(identity: Identity, listener: Listener) -> None:
    listener.socket.settimeout(0)
    network = Network(origin=listener.origin, identity=identity)
    with pytest.raises(Unreachable):
        network.sync(EMPTY_SYNC, read_seconds=0.1)
    assert listener.has_visitors()


@pytest.mark.parametrize("name", CALLS)
def test_a_server_that_the_signed_configuration_does_not_name_is_not_called(
    name: str, identity: Identity, listener: Listener
) -> None:
    policy = NetworkPolicy(signed_origins=lambda: ("https://fleet.example", listener.origin + "1"))
    network = Network(origin=listener.origin, identity=identity, policy=policy)
    with pytest.raises(OriginRefused, match="does not name"):
        CALLS[name](network)
    assert not listener.has_visitors()


def test_the_signed_configuration_is_asked_anew_each_time(
    make_network: Callable[..., Network], fleet: FakeFleet
) -> None:
    signed: list[str] = []
    network = make_network({"signed_origins": lambda: signed})
    network.sync(EMPTY_SYNC)
    signed.append("https://elsewhere.example")
    with pytest.raises(OriginRefused):
        network.sync(EMPTY_SYNC)
    signed.append(fleet.origin + "/")
    network.sync(EMPTY_SYNC)
    assert len(fleet.syncs) == 2


def test_a_download_stops_where_the_car_leaves_the_network(
    make_network: Callable[..., Network], fleet: FakeFleet
) -> None:
    blob = fleet.add_blob(bytes(3_000_000))
    add_units(fleet, 1)
    fleet.units[0].state, fleet.units[0].input_sha256 = "leased", blob
    is_home, pieces = [True], 0

    def write(_offset: int, piece: bytes) -> None:
        nonlocal pieces
        pieces += len(piece)
        is_home[0] = False

    network = make_network({"may_send": lambda: is_home[0]}, bandwidth_mbit_per_s=0.0)
    with pytest.raises(NetworkNotAllowed):
        network.download(wire.BLOBS_PATH + blob, start=0, end=3_000_000, write=write)
    assert 0 < pieces <= 64 * 1024


def test_an_upload_stops_where_the_car_leaves_the_network(make_network: Callable[..., Network], tmp_path: Path) -> None:
    moments, meter = iter([True] * 3), UsageMeter(tmp_path / "usage.json")
    network = make_network({"may_send": lambda: next(moments, False), "meter": meter})
    with pytest.raises(NetworkNotAllowed):
        network.patch(wire.OUTPUTS_PATH + "x", bytes(1024 * 1024), {})
    assert 0 < meter.today().bytes_sent < 200_000


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://fleet.example", "https://FLEET.example:443/"),
        ("http://fleet.example:80", "http://fleet.example/path?query"),
        ("https://[2001:db8::1]", "https://[2001:DB8::1]:443"),
        ("https://fleet.example.", "https://fleet.example"),
    ],
)
def test_an_origin_has_one_spelling(one: str, other: str) -> None:
    assert origin_of(one) == origin_of(other) != ""


@pytest.mark.parametrize(
    "url",
    [
        "http://fleet.example:8443/",  # another scheme
        "https://fleet.example/",  # another port
        "https://fleet.example:8443@evil.example/",
        "https://user@fleet.example:8443/",
        "https://fleet.example.evil.example:8443/",
        "//fleet.example:8443/",
        "file:///etc/passwd",
        "https://fleet.example:port/",
        "",
    ],
)
def test_an_address_that_is_not_quite_the_servers_is_refused(url: str) -> None:
    gate = SendGate("https://fleet.example:8443", NetworkPolicy())
    gate.check("https://fleet.example:8443/api")
    with pytest.raises(OriginRefused):
        gate.check(url)
