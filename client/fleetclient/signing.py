"""Signatures of the vehicle wire: a strict subset of RFC 9421 with one label, `sig1`, and Ed25519.

Pure functions and two small classes that keep everything constant precomputed: a load generator signs thousands of
requests a second with `RequestSigner`. No I/O, no clock: `created` and the counter come from the caller.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fleetclient.errors import ClientError

REQUEST_SECONDS_MAX = 120
_REQUEST_PARTS = '("@method" "@authority" "@path" "@query" "content-digest")'
_ANSWER_PARTS = '("@status" "content-digest" "signature";req;key="sig1")'
_ANSWER_INPUT = re.compile(
    "sig1=(" + re.escape(_ANSWER_PARTS) + r';created=[0-9]{1,12};keyid="director";tag="fleetcompute-director")'
)


class DirectorSignatureInvalid(ClientError):
    """The answer is not signed by the fleet's director key for this very request."""

    code: ClassVar[str] = "director_signature_invalid"
    retryable: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class SignedHeaders:
    """The three headers of a signed request; `signature` (base64) is what the answer's signature must cover."""

    headers: dict[str, str]
    signature: str


def content_digest(body: bytes) -> str:
    """Return the `Content-Digest` header value of a body."""
    return "sha-256=:" + base64.b64encode(hashlib.sha256(body).digest()).decode("ascii") + ":"


def pairing_key_id(public_key: bytes) -> str:
    """Return the key id of a car that has no vehicle id yet, from its 32-byte public key."""
    return "key_" + hashlib.sha256(public_key).hexdigest()[:32]


def request_params(*, created: int, expires: int, counter: int, key_id: str) -> str:
    """Return the signature parameters of a request, as they stand in both header and base."""
    return (
        f'{_REQUEST_PARTS};created={created};expires={expires};nonce="{counter}";keyid="{key_id}"'
        ';tag="fleetcompute-vehicle"'
    )


def request_base(*, method: str, authority: str, path: str, query: str, digest: str, params: str) -> bytes:
    """Return the signature base of a request. `query` is the raw query string without its question mark."""
    return (
        f'"@method": {method}\n"@authority": {authority}\n"@path": {path}\n"@query": ?{query}\n'
        f'"content-digest": {digest}\n"@signature-params": {params}'
    ).encode("ascii")


def answer_base(*, status: int, digest: str, request_signature: str, params: str) -> bytes:
    """Return the signature base of an answer to the request that carried `request_signature` (base64)."""
    return (
        f'"@status": {status}\n"content-digest": {digest}\n"signature";req;key="sig1": :{request_signature}:\n'
        f'"@signature-params": {params}'
    ).encode("ascii")


def rotation_proof(new_key: Ed25519PrivateKey, *, vehicle_id: str, old_key: bytes) -> bytes:
    """Return the new key's signature that proves to the server who holds it: for this car and this step only."""
    new_public = new_key.public_key().public_bytes_raw().hex()
    return new_key.sign(f"fleetcompute-key-rotation-1\n{vehicle_id}\n{old_key.hex()}\n{new_public}".encode("ascii"))


class RequestSigner:
    """Signs requests of one key to one authority (the lower-case `Host` header)."""

    def __init__(self, *, private_key: Ed25519PrivateKey, key_id: str, authority: str) -> None:
        self._sign = private_key.sign
        self._after_expires = f'";keyid="{key_id}";tag="fleetcompute-vehicle"'
        self._authority_line = f'\n"@authority": {authority.lower()}\n"@path": '

    def sign(
        self, method: str, path: str, body: bytes = b"", *, created: int, counter: int, query: str = ""
    ) -> SignedHeaders:
        """Return the headers of one request; `created` is in Unix seconds by the server's clock."""
        digest = content_digest(body)
        params = (
            f"{_REQUEST_PARTS};created={created};expires={created + REQUEST_SECONDS_MAX}"
            f';nonce="{counter}{self._after_expires}'
        )
        base = (
            f'"@method": {method}{self._authority_line}{path}\n"@query": ?{query}\n'
            f'"content-digest": {digest}\n"@signature-params": {params}'
        )
        signature = base64.b64encode(self._sign(base.encode("ascii"))).decode("ascii")
        return SignedHeaders(
            {"Content-Digest": digest, "Signature-Input": "sig1=" + params, "Signature": f"sig1=:{signature}:"},
            signature,
        )


class AnswerVerifier:
    """Checks that answers come from the holder of the director key."""

    def __init__(self, director_key: bytes) -> None:
        self._key = Ed25519PublicKey.from_public_bytes(director_key)

    def verify(self, *, status: int, headers: Mapping[str, str], body: bytes, request_signature: str) -> None:
        """Return when the answer is genuine; raise DirectorSignatureInvalid when anything is missing or wrong.

        `headers` must find names in whatever case they are asked for, as those of requests and http.client do.
        """
        digest = content_digest(body)
        if headers.get("Content-Digest") != digest:
            raise DirectorSignatureInvalid("the answer's Content-Digest is missing or wrong")
        signature_input = _ANSWER_INPUT.fullmatch(headers.get("Signature-Input") or "")
        if signature_input is None:
            raise DirectorSignatureInvalid("the answer's Signature-Input is missing or not in the expected form")
        base = answer_base(status=status, digest=digest, request_signature=request_signature, params=signature_input[1])
        try:
            self._key.verify(_signature_bytes(headers.get("Signature") or ""), base)
        except InvalidSignature:
            raise DirectorSignatureInvalid("the answer's signature is wrong") from None


def _signature_bytes(header: str) -> bytes:
    if not (header.startswith("sig1=:") and header.endswith(":")):
        raise DirectorSignatureInvalid("the answer's Signature is missing")
    try:
        return base64.b64decode(header[6:-1], validate=True)
    except ValueError:
        raise DirectorSignatureInvalid("the answer's Signature is not base64") from None
