"""Ed25519 keys in files: the private half as PEM, encrypted unless told otherwise, the public half as one JSON line."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, ClassVar, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner, SSlibKey

from workunits.trust.errors import TrustError

NAME_FIELD: Final = "x-name"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


class KeyUnusable(TrustError):
    """A key file cannot be used; the text says which and why."""

    code: ClassVar[str] = "key_unusable"


def make_key(path: Path, *, name: str, password: str | None) -> SSlibKey:
    """Make a key in `path` (mode 0600) and its public half in `path` with the suffix `.pub`; return the public half.

    `password` None leaves the file unencrypted. Raises KeyUnusable when a file is already there.
    """
    if not _NAME.fullmatch(name):
        raise KeyUnusable(f"{name!r} is no name for a key: letters, digits, and . _ @ - are.")
    if path.with_suffix(".pub").exists():
        # Looked at first: a private half beside somebody else's public one would pass for its other half.
        raise KeyUnusable(f"{path.with_suffix('.pub')} exists already; keys are never overwritten.")
    private = Ed25519PrivateKey.generate()
    guard = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    write_new(path, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, guard), mode=0o600)
    public: SSlibKey = SSlibKey.from_crypto(private.public_key())
    public.unrecognized_fields[NAME_FIELD] = name
    write_new(path.with_suffix(".pub"), (json.dumps(public_document(public)) + "\n").encode(), mode=0o644)
    return public


def load_signer(path: Path, *, password: str | None = None) -> CryptoSigner:
    """Return what signs with the key in `path`. Raises KeyUnusable."""
    try:
        private = load_pem_private_key(path.read_bytes(), password.encode() if password else None)
    except OSError as error:
        raise KeyUnusable(f"{path} cannot be read: {error.strerror}.") from None
    except TypeError:
        raise KeyUnusable(f"{path} is encrypted: give its password (or it is not, and none is needed).") from None
    except ValueError:
        raise KeyUnusable(f"{path} is not a PEM key, or the password is wrong.") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise KeyUnusable(f"{path} is not an Ed25519 key.")
    return CryptoSigner(private, SSlibKey.from_crypto(private.public_key()))


def is_encrypted(path: Path) -> bool:
    """Whether a key file needs a password. Raises KeyUnusable."""
    try:
        return b"ENCRYPTED" in path.read_bytes().split(b"\n", 1)[0]
    except OSError as error:
        raise KeyUnusable(f"{path} cannot be read: {error.strerror}.") from None


def load_public(path: Path) -> SSlibKey:
    """Return the public key in a `.pub` file. Raises KeyUnusable."""
    try:
        return read_public(json.loads(path.read_text()))
    except OSError as error:
        raise KeyUnusable(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise KeyUnusable(f"{path} is not a public key file (made beside each key, with the suffix .pub).") from None


def public_document(key: SSlibKey) -> dict[str, Any]:
    """Return a public key as JSON, with its id."""
    return {"keyid": key.keyid, **key.to_dict()}


def read_public(document: Any) -> SSlibKey:
    """Read what `public_document` wrote. Raises KeyUnusable; the id must be the one that the key itself gives."""
    try:
        members = dict(document)
        key = SSlibKey.from_dict(str(members.pop("keyid")), members)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise KeyUnusable("a public key is a JSON object with keyid, keytype, scheme and keyval") from None
    if key.keytype != "ed25519" or key_id(key) != key.keyid:
        raise KeyUnusable("a public key's id does not belong to it")
    return key


def name_of(key: Any) -> str:
    """Return the name that a key was made with, else the start of its id."""
    return str(key.unrecognized_fields.get(NAME_FIELD) or key.keyid[:12])


def key_id(key: Any) -> str:
    """Return the id that the key's own bytes give, whatever the file says; empty where it is no Ed25519 key."""
    try:
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.keyval["public"]))
    except (KeyError, TypeError, ValueError):
        return ""
    return SSlibKey.from_crypto(public).keyid


def write_new(path: Path, content: bytes, *, mode: int) -> None:
    """Write a file that must not exist yet. Raises KeyUnusable."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise KeyUnusable(f"{path} exists already; keys are never overwritten.") from None
    except OSError as error:
        raise KeyUnusable(f"{path} cannot be written: {error.strerror}.") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
