"""The only place where bytes leave this car and come in: one request through gate, breaker, budget and bucket.

Nothing a server says is ever followed: no redirect, no address out of an answer. Answers come as they are sent:
compressed ones, which could be small on the wire and huge in memory, are refused.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import requests
import urllib3

from fleetclient.clock import boot_seconds
from fleetclient.netpolicy.breaker import Breaker
from fleetclient.netpolicy.bucket import TokenBucket
from fleetclient.netpolicy.budget import ByteBudget
from fleetclient.netpolicy.gate import SendGate
from fleetclient.netpolicy.policy import NetworkPolicy
from fleetclient.netpolicy.refusals import Unreachable
from fleetclient.netpolicy.skew import ClockSkew
from fleetclient.netpolicy.ways import make_session

ANSWER_BYTES_MAX = 16 * 1024 * 1024
PIECE_BYTES = 64 * 1024
# Request or status line, blank line, and what the TCP and TLS layers add to a small exchange.
OVERHEAD_BYTES = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Errand:
    """One request. `is_file`: it moves a part of a file, and so yields to messages when the day's bytes run out."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""
    is_file: bool = False
    read_seconds: float | None = None


class Reply:
    """An answer whose body has not been read yet."""

    def __init__(self, door: Door, errand: Errand, response: requests.Response) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self._door = door
        self._errand = errand
        self._response = response

    @property
    def is_ok(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300

    def pieces(self, *, at_once: bool = False) -> Iterator[bytes]:
        """Yield the body as it comes, counted and no faster than the cap allows.

        `at_once`: give what has come, however little, instead of waiting until a piece is full.
        """
        encoding = self.headers.get("Content-Encoding", "identity")
        if encoding.lower() != "identity":
            raise Unreachable(f"the answer is encoded ({encoding[:40]}), which was not asked for")
        raw, size = self._response.raw, self._door.piece_bytes
        for piece in self._drips() if at_once else raw.stream(size, decode_content=False):
            self._door.received(self._errand, len(piece))
            yield piece

    def _drips(self) -> Iterator[bytes]:
        while piece := self._response.raw.read1(self._door.piece_bytes, decode_content=False):
            yield piece

    def content(self) -> bytes:
        """Return a whole small body. Raises Unreachable when it is larger than any answer may be."""
        content = bytearray()
        if self._errand.method == "HEAD":
            return b""
        for piece in self.pieces():
            content += piece
            if len(content) > ANSWER_BYTES_MAX:
                raise Unreachable("the answer is too large")
        return bytes(content)


class Door:
    """The way to one server. Safe to use from several threads; each keeps a connection of its own."""

    def __init__(self, origin: str, policy: NetworkPolicy) -> None:
        self._origin = origin
        self._policy = policy
        self._threads = threading.local()
        self._gate = SendGate(origin, policy)
        self._budget = ByteBudget(policy)
        self._bucket = TokenBucket(policy.options.bytes_per_second, now=policy.bandwidth_now, sleep=policy.sleep)
        self.breaker = Breaker()
        self.skew = ClockSkew(policy.log)
        self.piece_bytes = self._bucket.piece_bytes(PIECE_BYTES)
        make_session(policy.options, origin, folder=policy.folder).close()  # names what is wrong at once

    @contextmanager
    def open(self, errand: Errand) -> Iterator[Reply]:
        """Send a request and give its reply; the connection is free again afterwards.

        Raises Unreachable, NetworkNotAllowed, OriginRefused, CircuitOpen, BudgetExhausted.
        """
        url = self._origin + errand.path
        self._gate.check(url)
        self._budget.check(is_file=errand.is_file, sending=len(errand.body))
        self.breaker.check(self._policy.now())
        options = self._policy.options
        cargo = _Cargo(self, errand)
        sent_at = boot_seconds()
        try:
            with self._session().request(
                errand.method,
                url,
                data=cargo if errand.body else None,
                headers=dict(errand.headers),
                stream=True,
                allow_redirects=False,
                timeout=(options.connect_seconds, errand.read_seconds or options.read_seconds),
            ) as response:
                cargo.begin()
                self.received(errand, _header_bytes(response.headers))
                self.skew.observe_date(
                    response.headers.get("Date", ""), sent_at=sent_at, received_at=boot_seconds(), is_believed=False
                )
                yield Reply(self, errand, response)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            if not _never_connected(error):
                cargo.begin()
            raise Unreachable(f"{type(error).__name__}: {error}") from None

    def close(self) -> None:
        """Close this thread's connection; the next request opens another."""
        session: requests.Session | None = getattr(self._threads, "session", None)
        if session is not None:
            session.close()

    def sending(self, count: int) -> None:
        """Return when so many bytes may be sent; they are counted before they leave."""
        self._gate.check(self._origin)
        self.note_sent(count)
        self._bucket.take(count)

    def note_sent(self, count: int) -> None:
        """Count bytes that were sent."""
        self._budget.add(sent=count)

    def received(self, errand: Errand, count: int) -> None:
        """Count bytes that came, and return when the next may come. Raises when no more may come here, or today."""
        self._budget.add(received=count)
        self._gate.check(self._origin)
        self._budget.check(is_file=errand.is_file)
        self._bucket.take(count)

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._threads, "session", None)
        if session is None:
            policy = self._policy
            session = make_session(policy.options, self._origin, folder=policy.folder)
            self._threads.session = session
        return session


class _Cargo:
    """A request's body, handed to the HTTP library piece by piece as the cap allows, and counted as it goes."""

    def __init__(self, door: Door, errand: Errand) -> None:
        self._door = door
        self._errand = errand
        self._position = 0
        self._has_begun = False

    def __len__(self) -> int:
        return len(self._errand.body)

    def __iter__(self) -> Iterator[bytes]:
        """Only says to the HTTP library that this is a stream; it reads."""
        return iter(lambda: self.read(PIECE_BYTES), b"")

    def read(self, size: int = -1) -> bytes:
        """Return the next piece when it may go."""
        self.begin()
        end = len(self) if size < 0 else self._position + size
        piece = self._errand.body[self._position : end]
        if piece:
            self._door.sending(len(piece))
        self._position += len(piece)
        return piece

    def begin(self) -> None:
        """Count the head of the request, once: there is a connection."""
        if not self._has_begun:
            self._has_begun = True
            self._door.note_sent(_header_bytes(self._errand.headers) + len(self._errand.path))


def _header_bytes(headers: Mapping[str, str]) -> int:
    return OVERHEAD_BYTES + sum(len(name) + len(value) + 4 for name, value in headers.items())


def _never_connected(error: BaseException) -> bool:
    """Return whether nothing can have been sent: no address, no route, nobody listening."""
    kinds = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)
    seen: BaseException | None = error
    while seen is not None:
        reason = seen.args[0] if seen.args and isinstance(seen.args[0], BaseException) else None
        inner = getattr(reason, "reason", reason)
        if isinstance(seen, kinds) or isinstance(inner, kinds):
            return True
        seen = seen.__context__
    return False
