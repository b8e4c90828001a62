"""Who this car is: its Ed25519 key, its counter, and after pairing its vehicle id and the fleet's director key.

The key is made here, is readable by this user only, and never leaves this folder. The counter is stored before it is
used, in blocks: a crash skips numbers, it never repeats one. While a key is being renewed both are here, until the
server has confirmed the new one.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import threading
from functools import cache
from pathlib import Path
from typing import ClassVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fleetclient.clock import boot_id, wall_seconds
from fleetclient.errors import ClientError
from fleetclient.files import rename_durably, sync_folder, write_durably
from fleetclient.signing import pairing_key_id

COUNTER_BLOCK = 1000
KEY_BYTES = 32
_MACHINE_ID = Path("/etc/machine-id")


class IdentityUnusable(ClientError):
    """The identity folder cannot be used; the text says why."""

    code: ClassVar[str] = "identity_unusable"


class Counter:
    """Numbers that only grow, over restarts and power cuts, at one forced write for every thousand."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._next = self._reserved = int(path.read_text("ascii")) if path.exists() else 1

    def take(self) -> int:
        """Return a number greater than every number returned before."""
        with self._lock:
            if self._next >= self._reserved:
                self._reserve(self._next + COUNTER_BLOCK)
            self._next += 1
            return self._next - 1

    def leap(self) -> None:
        """Jump ahead after the server said that it has seen a greater number.

        That happens when this folder was restored from a copy. Milliseconds since 1970 pass whatever the lost
        folder counted, as long as a car makes fewer than a thousand requests a second.
        """
        with self._lock:
            self._next = max(self._next + COUNTER_BLOCK, int(wall_seconds() * 1000))
            self._reserve(self._next + COUNTER_BLOCK)

    def _reserve(self, upto: int) -> None:
        write_durably(self._path, str(upto).encode("ascii"))
        self._reserved = upto


class Identity:
    """The identity folder, opened. `vehicle_id` and `director_key` are None until the car is paired."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._key_path, self._next_key_path = folder / "key", folder / "key.next"
        self._vehicle_path = folder / "vehicle.json"
        self._revoked_path = folder / "revoked"
        self._use_key(_load_or_make_key(self._key_path))
        self._next_key = _load_key(self._next_key_path) if self._next_key_path.exists() else None
        self.instance = _instance_mark(folder / "instance")
        self.counter = Counter(folder / "counter")
        self.vehicle_id: str | None = None
        self.director_key: bytes | None = None
        self._load_vehicle()

    @property
    def key_id(self) -> str:
        """The `keyid` of signatures: the vehicle id, or the key's own id before pairing."""
        return self.vehicle_id or pairing_key_id(self.public_key)

    @property
    def is_revoked(self) -> bool:
        """True after the server said that this car was removed: never talk to it again with this identity."""
        return self._revoked_path.exists()

    @property
    def is_rotating(self) -> bool:
        """True while a new key waits for the server's word: it knows the old one, or the new one already."""
        return self._next_key is not None

    def key_age_seconds(self) -> float:
        """Return how long ago the key was made, by this machine's clock."""
        return wall_seconds() - self._key_path.stat().st_mtime

    def begin_rotation(self) -> Ed25519PrivateKey:
        """Return the new key, on disk before anybody hears of it. Called again it returns the same."""
        if self._next_key is None:
            self._next_key = _make_key(self._next_key_path)
        return self._next_key

    def finish_rotation(self) -> None:
        """Put the new key, which the server has confirmed, in the old one's place, in one step."""
        if self._next_key is None:
            raise ValueError("no key is being renewed")
        rename_durably(self._next_key_path, self._key_path)
        self._use_key(self._next_key)
        self._next_key = None

    def abandon_rotation(self) -> None:
        """Forget the new key, which the server will not take."""
        self._next_key_path.unlink(missing_ok=True)
        sync_folder(self._next_key_path.parent)
        self._next_key = None

    def remember_pairing(self, *, vehicle_id: str, director_key: bytes) -> None:
        """Store what pairing gave, before anything is signed with it."""
        document = {"vehicle_id": vehicle_id, "director_key": director_key.hex()}
        write_durably(self._vehicle_path, json.dumps(document).encode())
        self.vehicle_id, self.director_key = vehicle_id, director_key

    def remember_revoked(self) -> None:
        """Store that this identity is of no use any more."""
        write_durably(self._revoked_path, b"")

    def _use_key(self, key: Ed25519PrivateKey) -> None:
        self.private_key = key
        self.public_key = key.public_key().public_bytes_raw()

    def _load_vehicle(self) -> None:
        if not self._vehicle_path.exists():
            return
        try:
            document = json.loads(self._vehicle_path.read_bytes())
            self.vehicle_id, self.director_key = document["vehicle_id"], bytes.fromhex(document["director_key"])
        except (ValueError, KeyError, TypeError) as error:
            raise IdentityUnusable(f"{self._vehicle_path} cannot be read: {error}") from None


@cache
def process_mark() -> str:
    """Return a mark of this process, never the same again: the server knows by it when two use one key in turn."""
    return _mark("process", boot_id(), str(os.getpid()), secrets.token_hex(16))


def _instance_mark(path: Path) -> str:
    """Return a mark of this installation: the folder's own random number on this machine, neither of them in clear."""
    if not path.exists():
        write_durably(path, secrets.token_hex(16).encode("ascii"))
    try:
        machine = _MACHINE_ID.read_text("ascii").strip()
    except (OSError, ValueError):
        machine = ""
    return _mark("instance", path.read_text("ascii"), machine)


def _mark(*parts: str) -> str:
    return hashlib.sha256("\0".join(("fleetcompute", *parts)).encode()).hexdigest()[:32]


def _load_or_make_key(path: Path) -> Ed25519PrivateKey:
    return _load_key(path) if path.exists() else _make_key(path)


def _make_key(path: Path) -> Ed25519PrivateKey:
    key = Ed25519PrivateKey.generate()
    write_durably(path, key.private_bytes_raw(), mode=0o600)
    return key


def _load_key(path: Path) -> Ed25519PrivateKey:
    if path.stat().st_mode & 0o077:
        raise IdentityUnusable(f"{path} can be read by others; run: chmod 600 {path}")
    content = path.read_bytes()
    if len(content) != KEY_BYTES:
        raise IdentityUnusable(f"{path} is not a key")
    return Ed25519PrivateKey.from_private_bytes(content)
