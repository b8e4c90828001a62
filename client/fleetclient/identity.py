"""Who this car is: its Ed25519 key, its counter, and after pairing its vehicle id and the fleet's director key.

The key is made here, is readable by this user only, and never leaves this folder. The counter is stored before it is
used, in blocks: a crash skips numbers, it never repeats one.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import ClassVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fleetclient.clock import wall_seconds
from fleetclient.errors import ClientError
from fleetclient.files import write_durably
from fleetclient.signing import pairing_key_id

COUNTER_BLOCK = 1000
KEY_BYTES = 32


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
        self._vehicle_path = folder / "vehicle.json"
        self._revoked_path = folder / "revoked"
        self.private_key = _load_or_make_key(folder / "key")
        self.public_key = self.private_key.public_key().public_bytes_raw()
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

    def remember_pairing(self, *, vehicle_id: str, director_key: bytes) -> None:
        """Store what pairing gave, before anything is signed with it."""
        document = {"vehicle_id": vehicle_id, "director_key": director_key.hex()}
        write_durably(self._vehicle_path, json.dumps(document).encode())
        self.vehicle_id, self.director_key = vehicle_id, director_key

    def remember_revoked(self) -> None:
        """Store that this identity is of no use any more."""
        write_durably(self._revoked_path, b"")

    def _load_vehicle(self) -> None:
        if not self._vehicle_path.exists():
            return
        try:
            document = json.loads(self._vehicle_path.read_bytes())
            self.vehicle_id, self.director_key = document["vehicle_id"], bytes.fromhex(document["director_key"])
        except (ValueError, KeyError, TypeError) as error:
            raise IdentityUnusable(f"{self._vehicle_path} cannot be read: {error}") from None


def _load_or_make_key(path: Path) -> Ed25519PrivateKey:
    if not path.exists():
        key = Ed25519PrivateKey.generate()
        write_durably(path, key.private_bytes_raw(), mode=0o600)
        return key
    if path.stat().st_mode & 0o077:
        raise IdentityUnusable(f"{path} can be read by others; run: chmod 600 {path}")
    content = path.read_bytes()
    if len(content) != KEY_BYTES:
        raise IdentityUnusable(f"{path} is not a key")
    return Ed25519PrivateKey.from_private_bytes(content)
