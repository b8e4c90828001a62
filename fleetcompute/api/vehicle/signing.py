"""Signatures of the vehicle wire, server side: a strict subset of RFC 9421 with Ed25519.

The client has its own copy of these rules; golden messages in `tests/contract/wire/` hold the two together.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import ClassVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from workunits.domain.errors import FleetError

CLOCK_DIFFERENCE_SECONDS_MAX = 300
SIGNATURE_SECONDS_MAX = 120

_COMPONENTS = '("@method" "@authority" "@path" "@query" "content-digest")'
_ANSWER_COMPONENTS = '("@status" "content-digest" "signature";req;key="sig1")'
_INPUT = re.compile(
    r"sig1=("
    + re.escape(_COMPONENTS)
    + r';created=(\d{1,11});expires=(\d{1,11});nonce="(\d{1,18})";keyid="((?:veh|key)_[0-9A-Za-z]{1,40})"'
    r';tag="fleetcompute-vehicle")'
)
_SIGNATURE = re.compile(r"sig1=:([A-Za-z0-9+/]{86}==):")


class SignatureMissing(FleetError):
    """The request is not signed."""

    code: ClassVar[str] = "signature_missing"


class SignatureInvalid(FleetError):
    """The signature does not match the request."""

    code: ClassVar[str] = "signature_invalid"


class SignatureExpired(FleetError):
    """The signature is too old, or the car's clock is too far off; see this answer's Date."""

    code: ClassVar[str] = "signature_expired"
    retryable: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestSignature:
    """A signature as the headers state it, not yet verified."""

    params: str
    signature: str
    key_id: str
    counter: int
    created: int
    expires: int


def content_digest(body: bytes) -> str:
    """Return the Content-Digest header (RFC 9530) of a body."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode('ascii')}:"


def parse_signature(headers: Mapping[str, str]) -> RequestSignature:
    """Return what the request's headers say of its signature.

    Raises:
        SignatureMissing: one of the three headers is not there.
        SignatureInvalid: one is not in the exact form that the wire prescribes.
    """
    stated, signature = headers.get("Signature-Input"), headers.get("Signature")
    if not stated or not signature or not headers.get("Content-Digest"):
        raise SignatureMissing("Content-Digest, Signature-Input and Signature are all needed")
    match, signed = _INPUT.fullmatch(stated), _SIGNATURE.fullmatch(signature)
    if match is None or signed is None:
        raise SignatureInvalid("Signature-Input or Signature is not in the form that this wire prescribes")
    return RequestSignature(
        params=match[1],
        signature=signed[1],
        created=int(match[2]),
        expires=int(match[3]),
        counter=int(match[4]),
        key_id=match[5],
    )


def verify_request(
    signature: RequestSignature,
    *,
    public_key: bytes,
    method: str,
    authority: str,
    path: str,
    query: str,
    digest_header: str,
    body: bytes,
    now_seconds: float,
) -> None:
    """Check a request's signature, its digest and its age. `query` is the raw query string without `?`.

    Raises:
        SignatureInvalid, SignatureExpired: in that order, so that an expired answer proves nothing to a forger.
    """
    if digest_header != content_digest(body):
        raise SignatureInvalid("Content-Digest does not match the body")
    base = (
        f'"@method": {method}\n"@authority": {authority.lower()}\n"@path": {path}\n"@query": ?{query}\n'
        f'"content-digest": {digest_header}\n"@signature-params": {signature.params}'
    )
    try:
        _public_key(public_key).verify(base64.b64decode(signature.signature), base.encode("utf-8"))
    except (InvalidSignature, ValueError, binascii.Error):
        raise SignatureInvalid from None
    if not 0 <= signature.expires - signature.created <= SIGNATURE_SECONDS_MAX:
        raise SignatureInvalid(f"expires must be at most {SIGNATURE_SECONDS_MAX} s after created")
    is_stale = now_seconds > signature.expires + CLOCK_DIFFERENCE_SECONDS_MAX
    if is_stale or signature.created > now_seconds + CLOCK_DIFFERENCE_SECONDS_MAX:
        raise SignatureExpired


def rotation_text(*, vehicle_id: str, old_key: bytes, new_key: bytes) -> bytes:
    """Return what the new key of a car signs to prove that the car holds it: for this car and this step only."""
    return f"fleetcompute-key-rotation-1\n{vehicle_id}\n{old_key.hex()}\n{new_key.hex()}".encode("ascii")


def is_rotation_proved(proof: bytes, *, vehicle_id: str, old_key: bytes, new_key: bytes) -> bool:
    """Return whether `proof` is the new key's signature of that text."""
    try:
        text = rotation_text(vehicle_id=vehicle_id, old_key=old_key, new_key=new_key)
        Ed25519PublicKey.from_public_bytes(new_key).verify(proof, text)
    except (InvalidSignature, ValueError):
        return False
    return True


@lru_cache(maxsize=65_536)
def _public_key(raw: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(raw)


class Director:
    """Signs answers, each bound to the request it answers, so that none can be replayed for another."""

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_key = self._key.public_key().public_bytes_raw()

    def sign(self, *, status: int, body: bytes, request: RequestSignature, now_seconds: int) -> dict[str, str]:
        """Return the three headers of a signed answer."""
        digest = content_digest(body)
        params = f'{_ANSWER_COMPONENTS};created={now_seconds};keyid="director";tag="fleetcompute-director"'
        base = (
            f'"@status": {status}\n"content-digest": {digest}\n"signature";req;key="sig1": :{request.signature}:\n'
            f'"@signature-params": {params}'
        )
        signed = base64.b64encode(self._key.sign(base.encode("ascii"))).decode("ascii")
        return {"Content-Digest": digest, "Signature-Input": f"sig1={params}", "Signature": f"sig1=:{signed}:"}


@cache
def get_director(seed: bytes) -> Director:
    """Return the director of this installation's key (32-byte seed)."""
    return Director(seed)
