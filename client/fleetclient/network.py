"""The only module that speaks HTTP: one origin, signed requests, checked answers, and a timeout on everything.

A failure is one of two: `Unreachable` (no answer that can be used) or `ServerRefused` (a problem document). Waiting
and trying again is the caller's business; only a wrong clock and a lagging counter are mended here, once a call.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, ClassVar, TypeVar
from urllib.parse import urlsplit

import requests

from fleetclient import __version__
from fleetclient.clock import wall_seconds
from fleetclient.errors import ClientError
from fleetclient.identity import Identity
from fleetclient.signing import AnswerVerifier, DirectorSignatureInvalid, RequestSigner
from fleetclient.wire import (
    FRAME_CONTENT_TYPE,
    PAIR_DEVICE_PATH,
    PAIR_TOKEN_PATH,
    SYNC_PATH,
    MalformedMessage,
    SyncAnswer,
    decode_sync_answer,
)

CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0
ANSWER_BYTES_MAX = 16 * 1024 * 1024
CHUNK_BYTES = 256 * 1024
CLOCK_OFFSET_SECONDS_MIN = 5.0
AGENT_NAME = f"fleetclient/{__version__}"

T = TypeVar("T")


class Unreachable(ClientError):
    """The server could not be reached, or its answer makes no sense."""

    code: ClassVar[str] = "unreachable"
    retryable: ClassVar[bool] = True


class ServerRefused(ClientError):
    """The server answered with an error; `problem` is its code, `status` its HTTP status."""

    code: ClassVar[str] = "server_refused"
    retryable: ClassVar[bool] = True

    def __init__(
        self, *, status: int, problem: str, detail: str = "", retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(f"{status} {problem}: {detail}")
        self.status = status
        self.problem = problem
        self.retry_after_seconds = retry_after_seconds


class VehicleRevoked(ServerRefused):
    """The owner or an operator removed this car: stop, and do not try again."""

    code: ClassVar[str] = "vehicle_revoked"
    retryable: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer of status 2xx."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    request_signature: str


class Network:
    """All talk with one server in the name of one identity. Safe to use from several threads."""

    def __init__(self, *, origin: str, identity: Identity) -> None:
        self._origin = origin
        self._authority = urlsplit(origin).netloc.lower()
        self._identity = identity
        self._threads = threading.local()
        self.clock_offset_seconds = 0.0
        self._reset_keys()

    def sync(self, frame: bytes, *, read_seconds: float = READ_SECONDS) -> SyncAnswer:
        """Send a sync and return its answer, which the director signed for this very request."""
        answer = self._mended(lambda: self._sync_once(frame, read_seconds))
        try:
            return decode_sync_answer(answer.body)
        except MalformedMessage as error:
            raise Unreachable(f"the answer to a sync cannot be read: {error}") from None

    def pair_device(self, document: dict[str, str]) -> dict[str, Any]:
        """Ask for a device code and a user code; the only request that is not signed."""
        answer = self._send("POST", PAIR_DEVICE_PATH, json.dumps(document).encode(), _JSON, signed=False)
        return _json_object(answer.body)

    def pair_token(self, document: dict[str, str]) -> dict[str, Any]:
        """Ask whether the owner has approved. The answer brings the director key and must be signed with it."""
        body = json.dumps(document).encode()
        answer = self._mended(lambda: self._send("POST", PAIR_TOKEN_PATH, body, _JSON))
        document = _json_object(answer.body)
        try:
            verifier = AnswerVerifier(bytes.fromhex(document["director_key"]))
        except (KeyError, TypeError, ValueError):
            raise Unreachable("the pairing answer has no director key") from None
        _verify(verifier, answer)
        return document

    def adopt_identity(self) -> None:
        """Use what pairing has just stored in the identity from now on."""
        self._reset_keys()

    def head(self, path: str) -> Mapping[str, str]:
        """Return the headers of a HEAD request."""
        return self._mended(lambda: self._send("HEAD", path, b"", _TUS)).headers

    def patch(self, path: str, chunk: bytes, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Send one piece of an upload and return the answer's headers."""
        return self._mended(lambda: self._send("PATCH", path, chunk, _TUS | dict(headers))).headers

    def download(self, path: str, *, start: int, end: int, write: Callable[[int, bytes], None]) -> None:
        """Fetch bytes `[start, end)` of a blob and give them to `write(offset, piece)` in order.

        A server that ignores `Range` is followed from offset 0; nothing beyond `end` is read.
        """
        headers = {"Range": f"bytes={start}-{end - 1}"}
        self._mended(lambda: self._download_once(path, headers, start, end, write))

    def _sync_once(self, frame: bytes, read_seconds: float) -> Answer:
        answer = self._send("POST", SYNC_PATH, frame, {"Content-Type": FRAME_CONTENT_TYPE}, read_seconds=read_seconds)
        if self._verifier is not None:
            _verify(self._verifier, answer)
        return answer

    def _send(
        self,
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        signed: bool = True,
        read_seconds: float = READ_SECONDS,
    ) -> Answer:
        with self._open(method, path, body, headers, signed=signed, read_seconds=read_seconds) as (response, signature):
            content = b"" if method == "HEAD" else _read_bounded(response)
            self._refuse_errors(response, content)
            return Answer(response.status_code, response.headers, content, signature)

    def _download_once(
        self, path: str, headers: Mapping[str, str], start: int, end: int, write: Callable[[int, bytes], None]
    ) -> None:
        with self._open("GET", path, b"", headers) as (response, _):
            if not response.ok:
                self._refuse_errors(response, _read_bounded(response))
            offset = _first_offset(response, start)
            for piece in response.iter_content(CHUNK_BYTES):
                wanted = piece[: end - offset]
                write(offset, wanted)
                offset += len(wanted)
                if offset >= end:
                    return
            raise Unreachable(f"the download ended at byte {offset} of {end}")

    @contextmanager
    def _open(
        self,
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        signed: bool = True,
        read_seconds: float = READ_SECONDS,
    ) -> Iterator[tuple[requests.Response, str]]:
        # The signature covers Host, so it is set here and not left to the HTTP library's idea of default ports.
        every = {"Host": self._authority, "User-Agent": AGENT_NAME, "Accept-Encoding": "identity", **headers}
        signature = ""
        if signed:
            created = int(wall_seconds() + self.clock_offset_seconds)
            made = self._signer.sign(method, path, body, created=created, counter=self._identity.counter.take())
            every |= made.headers
            signature = made.signature
        try:
            with self._session().request(
                method,
                self._origin + path,
                data=body,
                headers=every,
                stream=True,
                allow_redirects=False,
                timeout=(CONNECT_SECONDS, read_seconds),
            ) as response:
                yield response, signature
        except requests.RequestException as error:
            raise Unreachable(f"{type(error).__name__}: {error}") from None

    def _mended(self, call: Callable[[], T]) -> T:
        """Make a call; once, mend the clock offset or the counter that the server complained about, and repeat."""
        try:
            return call()
        except ServerRefused as refused:
            if refused.problem == "counter_replayed":
                self._identity.counter.leap()
            elif refused.problem != "signature_expired":
                raise
            return call()

    def _refuse_errors(self, response: requests.Response, content: bytes) -> None:
        if HTTPStatus.OK <= response.status_code < HTTPStatus.MULTIPLE_CHOICES:
            return
        refused = _as_refusal(response, content)
        if refused.problem == "signature_expired":
            self._measure_clock(response.headers.get("Date", ""))
        raise refused

    def _measure_clock(self, date: str) -> None:
        """Keep an offset to the server's clock for signatures; the machine's clock is nobody's business here."""
        try:
            offset = parsedate_to_datetime(date).timestamp() - wall_seconds()
        except (TypeError, ValueError):
            return
        self.clock_offset_seconds = offset if abs(offset) >= CLOCK_OFFSET_SECONDS_MIN else 0.0

    def _reset_keys(self) -> None:
        identity = self._identity
        self._signer = RequestSigner(
            private_key=identity.private_key, key_id=identity.key_id, authority=self._authority
        )
        self._verifier = AnswerVerifier(identity.director_key) if identity.director_key else None

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._threads, "session", None)
        if session is None:
            session = self._threads.session = requests.Session()
        return session


_JSON = {"Content-Type": "application/json"}
_TUS = {"Tus-Resumable": "1.0.0"}


def _verify(verifier: AnswerVerifier, answer: Answer) -> None:
    if answer.status != HTTPStatus.OK:
        raise DirectorSignatureInvalid(f"an answer of status {answer.status} cannot be accepted here")
    verifier.verify(
        status=answer.status, headers=answer.headers, body=answer.body, request_signature=answer.request_signature
    )


def _read_bounded(response: requests.Response) -> bytes:
    content = bytearray()
    for piece in response.iter_content(CHUNK_BYTES):
        content += piece
        if len(content) > ANSWER_BYTES_MAX:
            raise Unreachable("the answer is too large")
    return bytes(content)


def _as_refusal(response: requests.Response, content: bytes) -> ServerRefused:
    try:
        document = _json_object(content)
    except Unreachable:
        document = {}
    problem = document.get("error") or document.get("code") or f"http_{response.status_code}"
    kind = VehicleRevoked if problem == "vehicle_revoked" else ServerRefused
    return kind(
        status=response.status_code,
        problem=str(problem),
        detail=str(document.get("detail", ""))[:500],
        retry_after_seconds=_retry_after(response.headers.get("Retry-After")),
    )


def _retry_after(value: str | None) -> float | None:
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - wall_seconds())
    except (TypeError, ValueError):
        return None


def _json_object(content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except ValueError:
        raise Unreachable("the answer is not JSON") from None
    if not isinstance(document, dict):
        raise Unreachable("the answer is not a JSON object")
    return document


def _first_offset(response: requests.Response, start: int) -> int:
    """Return the offset of the first byte that comes: `start`, or 0 from a server that ignores Range."""
    if response.status_code != HTTPStatus.PARTIAL_CONTENT:
        return 0
    if not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
        raise Unreachable("the server sent another range than the one asked for")
    return start
