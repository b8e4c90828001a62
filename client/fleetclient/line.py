"""Signed requests in the name of one identity, over one door: what every call to the server has in common.

A wrong clock and a lagging counter are mended here, once a call; who is turned away several times is not heard for an
hour (`netpolicy.breaker`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import urlsplit

from fleetclient import __version__
from fleetclient.clock import boot_seconds, wall_seconds
from fleetclient.identity import Identity
from fleetclient.netpolicy.door import Door, Errand, Reply
from fleetclient.netpolicy.policy import NetworkPolicy
from fleetclient.netpolicy.refusals import ServerRefused, Unreachable, read_refusal
from fleetclient.signing import AnswerVerifier, DirectorSignatureInvalid, RequestSigner

AGENT_NAME = f"fleetclient/{__version__}"

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """A request as its caller thinks of it: `path` without the query, which is raw and without its question mark.

    `is_file` and `read_seconds` are as in `netpolicy.door.Errand`.
    """

    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] | None = None
    query: str = ""
    is_signed: bool = True
    is_file: bool = False
    read_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer of status 2xx, the signature of its request, and when it was asked and came (boot clock)."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    request_signature: str
    sent_at: float
    received_at: float

    def verify(self, verifier: AnswerVerifier) -> None:
        """Return when the director signed this answer to this request; raises DirectorSignatureInvalid."""
        if self.status != HTTPStatus.OK:
            raise DirectorSignatureInvalid(f"an answer of status {self.status} cannot be accepted here")
        verifier.verify(
            status=self.status, headers=self.headers, body=self.body, request_signature=self.request_signature
        )


class Line:
    """The signed line to one server. Safe to use from several threads."""

    def __init__(self, *, origin: str, identity: Identity, policy: NetworkPolicy) -> None:
        self._authority = urlsplit(origin).netloc.lower()
        self._identity = identity
        self._policy = policy
        self._door = Door(origin, policy)
        self.skew = self._door.skew
        self.close = self._door.close
        self.adopt_key()

    def adopt_key(self) -> None:
        """Sign with the identity's present key and id from now on."""
        identity = self._identity
        self.signer = RequestSigner(private_key=identity.private_key, key_id=identity.key_id, authority=self._authority)

    def ask(self, question: Question) -> Answer:
        """Return the whole answer; mends clock and counter once. Raises ServerRefused and what `Door.open` raises."""
        return self._mended(question, lambda: self._ask_once(question))

    def download(self, question: Question, *, start: int, end: int, write: Callable[[int, bytes], None]) -> None:
        """Give the bytes `[start, end)` to `write(offset, piece)` as they come; from 0 where `Range` is ignored."""
        self._mended(question, lambda: self._download_once(question, start, end, write))

    def _ask_once(self, question: Question) -> Answer:
        sent_at = boot_seconds()
        with self._open(question) as (reply, signature):
            received_at = boot_seconds()
            content = reply.content()
            self._refuse_errors(reply, content, sent_at, received_at)
            return Answer(reply.status, reply.headers, content, signature, sent_at, received_at)

    def _download_once(self, question: Question, start: int, end: int, write: Callable[[int, bytes], None]) -> None:
        sent_at = boot_seconds()
        with self._open(question) as (reply, _):
            if not reply.is_ok:
                self._refuse_errors(reply, reply.content(), sent_at, boot_seconds())
            offset = _first_offset(reply, start)
            for piece in reply.pieces():
                wanted = piece[: end - offset]
                write(offset, wanted)
                offset += len(wanted)
                if offset >= end:
                    return
            raise Unreachable(f"the download ended at byte {offset} of {end}")

    @contextmanager
    def _open(self, question: Question) -> Iterator[tuple[Reply, str]]:
        # The signature covers Host, so it is set here and not left to the HTTP library's idea of default ports.
        headers = {"Host": self._authority, "User-Agent": AGENT_NAME, "Accept-Encoding": "identity"}
        headers |= question.headers or {}
        signature = ""
        if question.is_signed:
            made = self.signer.sign(
                question.method,
                question.path,
                question.body,
                created=int(wall_seconds() + self.skew.offset_seconds),
                counter=self._identity.counter.take(),
                query=question.query,
            )
            headers |= made.headers
            signature = made.signature
        errand = Errand(
            method=question.method,
            path=f"{question.path}?{question.query}" if question.query else question.path,
            headers=headers,
            body=question.body,
            is_file=question.is_file,
            read_seconds=question.read_seconds,
        )
        with self._door.open(errand) as reply:
            yield reply, signature

    def _mended(self, question: Question, call: Callable[[], T]) -> T:
        """Make a call; once, mend the clock offset or the counter that the server complained about, and repeat."""
        try:
            return self._noted(question, call)
        except ServerRefused as refused:
            if refused.problem == "counter_replayed":
                self._identity.counter.leap()
            elif refused.problem != "signature_expired":
                raise
        return self._noted(question, call)

    def _noted(self, question: Question, call: Callable[[], T]) -> T:
        """Make a call and tell the circuit breaker how it went; refusals of HEAD do not say what is refused."""
        breaker, policy = self._door.breaker, self._policy
        try:
            value = call()
        except ServerRefused as refused:
            is_news = question.method != "HEAD" and breaker.note_refusal(refused, policy.now())
            if is_news and policy.log is not None:
                policy.log.warning(
                    "turned_away", problem=refused.problem, hint="pair this car again; next try in an hour"
                )
            raise
        breaker.note_answer()
        return value

    def _refuse_errors(self, reply: Reply, content: bytes, sent_at: float, received_at: float) -> None:
        if reply.is_ok:
            return
        refused = read_refusal(status=reply.status, headers=reply.headers, content=content)
        if refused.problem == "signature_expired":
            date = reply.headers.get("Date", "")
            self.skew.observe_date(date, sent_at=sent_at, received_at=received_at, is_believed=True)
        raise refused


def _first_offset(reply: Reply, start: int) -> int:
    """Return the offset of the first byte that comes: `start`, or 0 from a server that ignores Range."""
    if reply.status != HTTPStatus.PARTIAL_CONTENT:
        return 0
    if not reply.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
        raise Unreachable("the server sent another range than the one asked for")
    return start
