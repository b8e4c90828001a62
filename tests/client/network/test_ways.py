"""By a proxy, with a certificate authority of one's own: real TLS, a real proxy."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fleetclient import wire
from fleetclient.identity import Identity
from fleetclient.netpolicy.options import NetworkOptions, NetworkOptionsInvalid
from fleetclient.netpolicy.ways import choose_proxy
from fleetclient.network import Network, NetworkPolicy, Unreachable
from tests.client.fake_fleet import FakeFleet, _Handler
from tests.client.network.messages import EMPTY_SYNC
from tests.client.network.small_proxy import SmallProxy
from tests.client.support import add_units

PROXY_VARIABLES = [
    name for word in ("http", "https", "all", "no") for name in (f"{word}_proxy", f"{word.upper()}_PROXY")
]


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def proxy() -> Iterator[SmallProxy]:
    made = SmallProxy()
    yield made
    made.close()


def make_certificates(folder: Path) -> tuple[Path, Path]:
    """Return the CA's certificate, and the server's certificate and key for 127.0.0.1 in one file."""
    now = dt.datetime.now(dt.UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a workshop's own")])
    ca = (
        x509.CertificateBuilder()
        .subject_name(ca_name)
        .issuer_name(ca_name)
        .public_key(ca_key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    leaf = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fleet")]))
        .issuer_name(ca_name)
        .public_key(key.public_key())
        .serial_number(2)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(ca.public_bytes(encoding))
    (folder / "server.pem").write_bytes(
        leaf.public_bytes(encoding)
        + key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "ca.pem", folder / "server.pem"


@pytest.fixture
def tls(tmp_path: Path, fleet: FakeFleet) -> Iterator[str]:
    """The fake fleet behind TLS; its certificate authority is `ca.pem` in the test's folder."""
    _, server_file = make_certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server_file)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"fleet": fleet}))
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"https://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_server_is_believed_with_the_owners_certificate_authority_and_not_without(
    tls: str, identity: Identity, fleet: FakeFleet, tmp_path: Path
) -> None:
    with pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED"):
        Network(origin=tls, identity=identity).sync(EMPTY_SYNC)
    assert fleet.requests == []
    policy = NetworkPolicy(options=NetworkOptions(ca_file="ca.pem"), folder=tmp_path)
    Network(origin=tls, identity=identity, policy=policy).sync(EMPTY_SYNC)
    assert len(fleet.syncs) == 1


def test_the_environment_cannot_bring_other_certificates(
    tls: str, identity: Identity, fleet: FakeFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("CURL_CA_BUNDLE", str(tmp_path / "ca.pem"))
    with pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED"):
        Network(origin=tls, identity=identity).sync(EMPTY_SYNC)
    assert fleet.requests == []


def test_a_certificate_file_that_is_not_there_is_named(identity: Identity, tmp_path: Path) -> None:
    policy = NetworkPolicy(options=NetworkOptions(ca_file="none.pem"), folder=tmp_path)
    with pytest.raises(NetworkOptionsInvalid, match=f"ca_file: there is no file {tmp_path}/none.pem"):
        Network(origin="https://fleet.example", identity=identity, policy=policy)


def test_tls_goes_through_a_proxy_with_a_password(
    tls: str, identity: Identity, fleet: FakeFleet, proxy: SmallProxy, tmp_path: Path
) -> None:
    address = f"http://owner:secret@127.0.0.1:{proxy.port}"
    policy = NetworkPolicy(options=NetworkOptions(ca_file="ca.pem", proxy=address), folder=tmp_path)
    Network(origin=tls, identity=identity, policy=policy).sync(EMPTY_SYNC)
    assert len(fleet.syncs) == 1
    assert proxy.asked == [("CONNECT", tls.removeprefix("https://"), "Basic b3duZXI6c2VjcmV0")]


def test_every_kind_of_request_goes_through_a_proxy(
    make_network: Callable[..., Network], fleet: FakeFleet, proxy: SmallProxy
) -> None:
    network = make_network(proxy=proxy.address)
    network.sync(EMPTY_SYNC)
    network.get_account(since=1)
    add_units(fleet, 1)
    unit = fleet.units[0]
    unit.state, unit.token, unit.commitment = "leased", "t" * 22, {"bytes": 9, "digest": ""}
    fleet.replicas[unit.token] = unit
    content = fleet.blobs[unit.input_sha256]
    pieces: list[bytes] = []
    network.download(
        wire.BLOBS_PATH + unit.input_sha256, start=6, end=20, write=lambda _at, piece: pieces.append(piece)
    )
    assert b"".join(pieces) == content[6:20]
    path = wire.OUTPUTS_PATH + unit.token
    assert network.head(path)["Upload-Offset"] == "0"
    assert network.patch(path, b"1234", {"Upload-Offset": "0"})["Upload-Offset"] == "4"
    assert len(proxy.asked) == len(fleet.requests) == 5


def test_a_proxy_that_is_away_is_like_a_server_that_is_away(
    make_network: Callable[..., Network], fleet: FakeFleet, proxy: SmallProxy
) -> None:
    proxy.close()
    network = make_network(proxy=f"http://owner:secret@127.0.0.1:{proxy.port}")
    with pytest.raises(Unreachable) as unreachable:
        network.sync(EMPTY_SYNC)
    assert "secret" not in str(unreachable.value)
    assert fleet.requests == []


def test_the_environments_proxy_is_used_unless_the_options_say_none(
    make_network: Callable[..., Network], proxy: SmallProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", proxy.address)
    make_network().sync(EMPTY_SYNC)
    assert len(proxy.asked) == 1
    make_network(proxy="none").sync(EMPTY_SYNC)
    monkeypatch.setenv("no_proxy", "localhost,127.0.0.1")
    make_network().sync(EMPTY_SYNC)
    assert len(proxy.asked) == 1


@pytest.mark.parametrize(
    ("environment", "origin", "chosen"),
    [
        ({}, "https://fleet.example", ""),
        ({"HTTPS_PROXY": "http://p:1"}, "https://fleet.example", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1"}, "http://fleet.example", ""),
        ({"ALL_PROXY": "http://p:2"}, "https://fleet.example", "http://p:2"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": ".example"}, "https://fleet.example:8443", ""),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "fleet.example:8443"}, "https://fleet.example:8443", ""),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "other.test"}, "https://fleet.example", "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, "https://fleet.example", ""),
    ],
)
def test_the_environments_words_are_understood(
    environment: dict[str, str], origin: str, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert choose_proxy(NetworkOptions(), origin) == chosen


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"proxy": "socks5://p:1080"}, "proxy"),
        ({"proxy": "p:3128"}, "proxy"),
        ({"proxy": "http://p"}, "proxy"),
        ({"proxy": "http://p:port"}, "proxy"),
        ({"proxy": "http://user:hunter2@p:3128/path"}, "proxy"),
        ({"allowed_gateways": ("192.168.1.1",)}, "allowed_gateways"),
        ({"bandwidth_mbit_per_s": -1.0}, "bandwidth_mbit_per_s"),
        ({"bandwidth_mbit_per_s": float("nan")}, "bandwidth_mbit_per_s"),
        ({"egress_bytes_per_day_max": -1}, "egress_bytes_per_day_max"),
        ({"daily_bytes_max": -1}, "daily_bytes_max"),
        ({"read_seconds": 0.0}, "read_seconds"),
        ({"connect_seconds": 3600.0}, "connect_seconds"),
    ],
)
def test_options_that_cannot_work_are_named_and_passwords_are_not(options: dict[str, object], named: str) -> None:
    with pytest.raises(NetworkOptionsInvalid, match=named) as invalid:
        NetworkOptions(**options)  # type: ignore[arg-type]
    assert "hunter2" not in str(invalid.value)


def test_networks_are_restricted_as_soon_as_one_is_named() -> None:
    assert not NetworkOptions(allow_wired=True).is_restricted
    assert NetworkOptions(allowed_ssids=("home",)).is_restricted
    assert NetworkOptions(allowed_gateways=("AA:bb:cc:dd:ee:ff",)).is_restricted
