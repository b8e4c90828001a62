"""What this car says to its server, and what it believes of the answers. Signed requests go through `line`.

A failure is one of these: `Unreachable` (no answer that can be used), `ServerRefused` (a problem document), or a
refusal of our own to send now (`netpolicy`). Waiting and trying again is the caller's business; a rotation of the key
that was cut off is finished before anything else is said.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, ClassVar, TypeVar

from fleetclient.errors import ClientError
from fleetclient.identity import Identity
from fleetclient.line import AGENT_NAME, Answer, Line, Question
from fleetclient.netpolicy.door import ANSWER_BYTES_MAX
from fleetclient.netpolicy.policy import NetworkPolicy
from fleetclient.netpolicy.refusals import ServerRefused, Unreachable, VehicleRevoked, read_json_object
from fleetclient.signing import AnswerVerifier, DirectorSignatureInvalid, rotation_proof
from fleetclient.wire import (
    ACCOUNT_PATH,
    FRAME_CONTENT_TYPE,
    PAIR_DEVICE_PATH,
    PAIR_ROTATE_PATH,
    PAIR_TOKEN_PATH,
    SYNC_PATH,
    Account,
    MalformedMessage,
    SyncAnswer,
    decode_account,
    decode_sync_answer,
)

__all__ = [
    "AGENT_NAME",
    "ANSWER_BYTES_MAX",
    "Network",
    "NetworkPolicy",
    "ServerRefused",
    "Unreachable",
    "VehicleRevoked",
    "WrongVehicle",
]

KEY_SECONDS_MAX = 90 * 86_400.0
# Between two attempts to renew an old key.
RENEW_SECONDS = 86_400.0
_JSON = {"Content-Type": "application/json"}
_FRAME = {"Content-Type": FRAME_CONTENT_TYPE}
_TUS = {"Tus-Resumable": "1.0.0"}
# Answers after which the old key stays: the server will never take this new one, or knows nothing of rotations.
_ROTATION_ENDS = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    }
)

T = TypeVar("T")


class WrongVehicle(ClientError):
    """The director signed this answer for another car."""

    code: ClassVar[str] = "wrong_vehicle"
    retryable: ClassVar[bool] = True


class Network:
    """All talk with one server in the name of one identity. Safe to use from several threads."""

    def __init__(self, *, origin: str, identity: Identity, policy: NetworkPolicy | None = None) -> None:
        self.policy = policy or NetworkPolicy()
        self._identity = identity
        self._line = Line(origin=origin, identity=identity, policy=self.policy)
        self._rotating = threading.Lock()
        self._renew_at = float("-inf")

    @property
    def clock_offset_seconds(self) -> float:
        """What to add to this machine's clock to get the server's; 0 while they differ by less than five seconds."""
        return self._line.skew.offset_seconds

    @property
    def clock_skew_seconds(self) -> float | None:
        """The server's clock less this machine's, as measured; None before the first answer."""
        return self._line.skew.seconds

    def sync(self, frame: bytes, *, read_seconds: float | None = None) -> SyncAnswer:
        """Send a sync and return its answer, which the director signed for this very request and for this car."""
        answer = self._ask(
            Question(method="POST", path=SYNC_PATH, body=frame, headers=_FRAME, read_seconds=read_seconds)
        )
        self._verify(answer)
        decoded = _decoded(decode_sync_answer, answer.body)
        self._check_vehicle(decoded.vehicle)
        if decoded.server_time is not None:
            # The second that it names had begun; half of one has passed on average.
            self._line.skew.observe(
                decoded.server_time + 0.5, sent_at=answer.sent_at, received_at=answer.received_at, is_believed=True
            )
        self._renew_old_key()
        return decoded

    def get_account(self, *, since: int) -> Account:
        """Return what this car's work has earned since a Unix second (the start of its own day). An estimate."""
        answer = self._ask(Question(method="GET", path=ACCOUNT_PATH, query=f"since={since}"))
        self._verify(answer)
        account = _decoded(decode_account, answer.body)
        self._check_vehicle(account.vehicle)
        return account

    def pair_device(self, document: dict[str, str]) -> dict[str, Any]:
        """Ask for a device code, a user code and a number; the only request that is not signed."""
        body = json.dumps(document).encode()
        question = Question(method="POST", path=PAIR_DEVICE_PATH, body=body, headers=_JSON, is_signed=False)
        return read_json_object(self._line.ask(question).body)

    def pair_token(self, document: dict[str, str]) -> dict[str, Any]:
        """Ask whether the owner has approved. The answer brings the director key and must be signed with it."""
        body = json.dumps(document).encode()
        answer = self._line.ask(Question(method="POST", path=PAIR_TOKEN_PATH, body=body, headers=_JSON))
        document = read_json_object(answer.body)
        try:
            verifier = AnswerVerifier(bytes.fromhex(document["director_key"]))
        except (KeyError, TypeError, ValueError):
            raise Unreachable("the pairing answer has no director key") from None
        answer.verify(verifier)
        return document

    def adopt_identity(self) -> None:
        """Use what pairing has just stored in the identity from now on."""
        self._line.adopt_key()

    def rotate_key(self) -> None:
        """Replace this car's key by a new one. Safe at any point of a crash: both keys are kept until it is certain.

        Raises ServerRefused when the server does not take it (the old key stays), and the errors of any request.
        """
        with self._rotating:
            self._rotate()

    def close(self) -> None:
        """Close this thread's connection; the next call opens another."""
        self._line.close()

    def head(self, path: str) -> Mapping[str, str]:
        """Return the headers of a HEAD request."""
        return self._ask(Question(method="HEAD", path=path, headers=_TUS)).headers

    def patch(self, path: str, chunk: bytes, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Send one piece of an upload and return the answer's headers."""
        every = _TUS | dict(headers)
        return self._ask(Question(method="PATCH", path=path, body=chunk, headers=every, is_file=True)).headers

    def download(self, path: str, *, start: int, end: int, write: Callable[[int, bytes], None]) -> None:
        """Fetch bytes `[start, end)` of a blob and give them to `write(offset, piece)` in order, as they come.

        A server that ignores `Range` is followed from offset 0; nothing beyond `end` is read.
        """
        question = Question(method="GET", path=path, headers={"Range": f"bytes={start}-{end - 1}"}, is_file=True)
        self._with_known_key(lambda: self._line.download(question, start=start, end=end, write=write))

    def _ask(self, question: Question) -> Answer:
        return self._with_known_key(lambda: self._line.ask(question))

    def _with_known_key(self, call: Callable[[], T]) -> T:
        """Make a call with the key that the server knows: first finish a rotation that was cut off."""
        if self._identity.is_rotating:
            self._settle_rotation()
        while True:
            signer = self._line.signer
            try:
                return call()
            except ServerRefused as refused:
                if refused.status != HTTPStatus.UNAUTHORIZED:
                    raise
                with self._rotating:
                    # Another thread may have replaced the key while this request was under way; it is done now.
                    if self._line.signer is signer:
                        raise

    def _settle_rotation(self) -> None:
        with self._rotating:
            if not self._identity.is_rotating:
                return  # another thread has just done it
            try:
                self._rotate()
            except ServerRefused:
                if self._identity.is_rotating:
                    raise

    def _renew_old_key(self) -> None:
        """Renew a key that is old; where that fails the old one is as good tomorrow."""
        now = self.policy.now()
        if now < self._renew_at or self._identity.key_age_seconds() < KEY_SECONDS_MAX:
            return
        self._renew_at = now + RENEW_SECONDS
        log = self.policy.log
        try:
            self.rotate_key()
        except ClientError as error:
            if log is not None:
                log.warning("key_not_renewed", error=str(error), code=error.code)
        else:
            if log is not None:
                log.info("key_renewed")

    def _rotate(self) -> None:
        identity = self._identity
        if identity.vehicle_id is None:
            raise ValueError("a car without a pairing has nothing to renew")
        key = identity.begin_rotation()
        new_key = key.public_key().public_bytes_raw().hex()
        proof = rotation_proof(key, vehicle_id=identity.vehicle_id, old_key=identity.public_key)
        body = json.dumps({"public_key": new_key, "proof": proof.hex()}).encode()
        try:
            answer = self._line.ask(Question(method="POST", path=PAIR_ROTATE_PATH, body=body, headers=_JSON))
        except ServerRefused as refused:
            if refused.status in _ROTATION_ENDS or refused.problem == "key_already_paired":
                identity.abandon_rotation()
            raise
        self._verify(answer)
        document = read_json_object(answer.body)
        self._check_vehicle(document.get("vehicle_id"))
        if document.get("public_key") != new_key:
            raise Unreachable("the server speaks of another key than the new one")
        identity.finish_rotation()
        self._line.adopt_key()

    def _verify(self, answer: Answer) -> None:
        director_key = self._identity.director_key
        if director_key is None:
            raise DirectorSignatureInvalid("this car has no director key yet: pair it first")
        answer.verify(AnswerVerifier(director_key))

    def _check_vehicle(self, named: object) -> None:
        if named != self._identity.vehicle_id:
            raise WrongVehicle(f"the answer is for {str(named)[:50]!r}, this car is {self._identity.vehicle_id!r}")


def _decoded(decode: Callable[[bytes], T], body: bytes) -> T:
    try:
        return decode(body)
    except MalformedMessage as error:
        raise Unreachable(f"the answer cannot be read: {error}") from None
