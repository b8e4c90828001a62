"""The way to the server: name, connection, encryption, answer, clock. Nothing but one unsigned question is sent."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import requests

from fleetclient.clock import boot_seconds, wall_seconds
from fleetclient.config import Config
from fleetclient.doctor.context import Context
from fleetclient.doctor.report import Line, fail, ok, warn
from fleetclient.live import look_at_network, may_send
from fleetclient.netpolicy.ways import choose_proxy, make_session
from fleetclient.redaction import Redactor
from fleetclient.wire import SYNC_PATH

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 10.0
SLOW_SECONDS = 2.0
SKEW_WARN_SECONDS = 60.0
SKEW_FAIL_SECONDS = 300.0
PROBLEM = "application/problem+json"
_PORTS = {"http": 80, "https": 443}


def check_network(context: Context) -> Iterator[Line]:
    """Find out whether there is a proxy, and what the owner allows."""
    config = context.config
    if config is None or not config.server:
        return
    proxy = choose_proxy(config.network, config.server)
    if proxy:
        yield ok("proxy", str(Redactor().redact(proxy)))
    options = config.network
    if not options.is_restricted and config.rules.only_home_network:
        mend = f'name your network in {context.config_file}: [network] allowed_ssids = ["…"]'
        yield warn("networks", "no network is named as home; the car's own word is taken for it", mend)
    elif options.is_restricted:
        is_allowed, name = look_at_network(config)
        if is_allowed:
            yield ok("networks", f"on an allowed network ({name})")
        else:
            text = "not on an allowed network" if is_allowed is False else "nobody can tell which network this is"
            mend = (
                f"join one, or add this one under [network] in {context.config_file}; until then nothing is sent"
                " (iw dev shows a Wi-Fi's name for allowed_ssids, ip neigh a router's address for allowed_gateways)"
            )
            yield warn("networks", text, mend)


def check_server(context: Context) -> Iterator[Line]:
    """Find out whether the server can be reached and is one of ours; sends nothing where the owner forbids it."""
    config = context.config
    if config is None or not config.server or not may_send(config):
        return
    if not choose_proxy(config.network, config.server):
        reached = list(_check_way(config))
        yield from reached
        if not reached or reached[-1].mend:
            return
    yield from _check_api(config)


def _check_way(config: Config) -> Iterator[Line]:
    parts = urlsplit(config.server)
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    try:
        addresses = sorted({str(each[4][0]) for each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)})
    except OSError as error:
        mend = "check the address for a slip, and the computer's connection and name server (resolvectl status)"
        yield fail("name", f"{host} is not known: {error.strerror or error}", mend)
        return
    yield ok("name", f"{host} is {', '.join(addresses[:3])}")
    began = boot_seconds()
    try:
        connection = socket.create_connection((host, port), timeout=CONNECT_SECONDS)
    except OSError as error:
        mend = f"check that the server runs and that no firewall stands before port {port}"
        yield fail("connection", f"{host}:{port} does not answer: {error.strerror or error}", mend)
        return
    with connection:
        yield ok("connection", f"{host}:{port} in {1000 * (boot_seconds() - began):.0f} ms")
        if parts.scheme == "https":
            yield _check_tls(connection, host, config)
        else:
            yield _judge_plain(host)


def _check_tls(connection: socket.socket, host: str, config: Config) -> Line:
    ca_file = config.folder / config.network.ca_file if config.network.ca_file else None
    try:
        with ssl.create_default_context(cafile=ca_file).wrap_socket(connection, server_hostname=host) as encrypted:
            return ok("encryption", f"{encrypted.version()}, certificate of {host} is good")
    except ssl.SSLCertVerificationError as error:
        mend = "check the computer's clock; for a private authority name its certificate: [network] ca_file"
        return fail("encryption", f"the certificate is not good: {error.verify_message}", mend)
    except (OSError, ssl.SSLError) as error:
        return fail(
            "encryption", f"failed: {error}", "check that the address has the right port and https is spoken there"
        )


def _judge_plain(host: str) -> Line:
    if host in ("127.0.0.1", "localhost", "::1"):
        return ok("encryption", "none, and the server is on this computer")
    mend = "use the server's https:// address; signatures protect what is said, not that it is read"
    return warn("encryption", "none: others on the way can read along", mend)


def _check_api(config: Config) -> Iterator[Line]:
    mend = "try again later; if it stays so, tell the operator of your fleet"
    try:
        session = make_session(config.network, config.server, folder=config.folder)
        began, asked_at = boot_seconds(), wall_seconds()
        url = config.server + SYNC_PATH
        with session.get(url, timeout=(CONNECT_SECONDS, ANSWER_SECONDS), allow_redirects=False, stream=True) as answer:
            seconds, status = boot_seconds() - began, answer.status_code
            kind, date = answer.headers.get("Content-Type", ""), answer.headers.get("Date", "")
    except requests.RequestException as error:
        text = str(Redactor().redact(f"{type(error).__name__}: {error}"))
        yield fail("answer", text, "check proxy and certificate settings in [network], and that the server runs")
        return
    # A question without a signature is refused by our servers in a way of their own; nothing else answers so.
    if not kind.startswith(PROBLEM):
        yield fail(
            "answer",
            f"something else answers there ({status}, {kind or 'no type'})",
            "check server = in the configuration",
        )
        return
    if status >= 500:
        yield fail("answer", f"the server has trouble ({status})", mend)
    elif seconds > SLOW_SECONDS:
        yield warn("answer", f"after {seconds:.1f} s", mend)
    else:
        yield ok("answer", f"a FleetCompute server, after {1000 * seconds:.0f} ms")
    yield from _judge_skew(date, asked_at + seconds / 2)


def _judge_skew(date: str, asked_at: float) -> Iterator[Line]:
    try:
        skew = parsedate_to_datetime(date).timestamp() - asked_at
    except (TypeError, ValueError):
        return
    mend = "let the computer set its clock: timedatectl set-ntp true"
    if abs(skew) > SKEW_FAIL_SECONDS:
        yield fail("clock skew", f"the server's clock is {skew:+.0f} s from this one", mend)
    elif abs(skew) > SKEW_WARN_SECONDS:
        yield warn("clock skew", f"the server's clock is {skew:+.0f} s from this one", mend)
    else:
        yield ok("clock skew", "this clock and the server's agree")
