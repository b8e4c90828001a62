"""Opaque replica tokens: one AES block that carries the replica's key and says nothing of it to who holds it.

A token is a pseudo-random permutation of (batch, unit, owner, attempt), so the server finds the row, and its
partition, without a look-up table, and two tokens of one unit look as unrelated as any two. It is no credential:
the request's signature is, and the row names the vehicle.
"""

from __future__ import annotations

import base64
import hashlib
import re
import struct
import threading
from functools import lru_cache
from typing import ClassVar, NamedTuple

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes

from workunits.domain.errors import FleetError

SALT_BYTES = 16
# The one spelling of 16 bytes: by another one a replica could be spoken of twice in one sync.
_SPELLING = re.compile(r"[A-Za-z0-9_-]{21}[AQgw]")
_BLOCK = struct.Struct(">QIIB")  # 17 bytes; the top byte of the batch id is always zero and is cut off


class ReplicaUnknown(FleetError):
    """The token is not one of ours, or names no replica."""

    code: ClassVar[str] = "replica_unknown"


class ReplicaRef(NamedTuple):
    """What a token carries. `attempt` tells a lease from an earlier one of the same replica."""

    batch_id: int
    unit_number: int
    owner_id: int
    attempt: int


@lru_cache(maxsize=4)
def _ciphers(key: bytes) -> Cipher[modes.ECB]:
    # ECB over exactly one block is the bare permutation, which is what is wanted here.
    return Cipher(algorithms.AES(key), modes.ECB())  # noqa: S305


class _Decryptors(threading.local):
    """One decryptor a key and thread: making one costs ten times a block, and ECB keeps nothing from block to block."""

    def __init__(self) -> None:
        self.by_key: dict[bytes, CipherContext] = {}


_decryptors = _Decryptors()


def _decryptor(key: bytes) -> CipherContext:
    found = _decryptors.by_key.get(key)
    if found is None:
        found = _decryptors.by_key[key] = _ciphers(key).decryptor()
    return found


def seal_tokens(key: bytes, refs: list[ReplicaRef]) -> list[str]:
    """Return one token of 22 URL-safe characters for each reference. `key`: 16 bytes."""
    encryptor: CipherContext = _ciphers(key).encryptor()
    sealed = encryptor.update(b"".join(_BLOCK.pack(*ref)[1:] for ref in refs))
    return [
        base64.urlsafe_b64encode(sealed[start : start + 16]).rstrip(b"=").decode("ascii")
        for start in range(0, len(sealed), 16)
    ]


def open_token(key: bytes, token: str) -> ReplicaRef:
    """Return what the token carries.

    Raises:
        ReplicaUnknown: it is malformed. A forged one of the right form opens to a reference that names no row.
    """
    if not _SPELLING.fullmatch(token):
        raise ReplicaUnknown(f"{token[:40]!r} is not a replica token")
    block = base64.urlsafe_b64decode(token + "==")
    ref = ReplicaRef(*_BLOCK.unpack(b"\0" + _decryptor(key).update(block)))
    if ref.batch_id > 2**47 or ref.unit_number >= 2**31 or ref.owner_id >= 2**31:
        raise ReplicaUnknown(f"{token[:40]!r} is not a replica token")  # such ids do not exist: a forgery
    return ref


def make_salt(key: bytes, token: str) -> bytes:
    """Return the 16 bytes that salt this replica's commitment, derived so that they need not be stored."""
    # A keyed BLAKE2 is a MAC by itself and costs a sixth of an HMAC, which counts ten times in a sync.
    return hashlib.blake2b(token.encode("ascii"), key=key, digest_size=SALT_BYTES, person=b"commitment salt").digest()


def salted_digest(salt: bytes, output: bytes) -> bytes:
    """Return SHA-256 over `salt ‖ output`, what a car commits to."""
    digest = hashlib.sha256(salt)
    digest.update(output)
    return digest.digest()
