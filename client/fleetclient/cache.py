"""The model cache: files named by their SHA-256, checked before they get that name, least recently used out first.

Downloads that were cut lie in `partial/` and go on where they stopped, also after a restart.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import ClassVar

from fleetclient.errors import ClientError
from fleetclient.files import rename_durably

READ_BYTES = 1024 * 1024
# Left to the owner on the disk that the cache is on, whatever its cap.
DISK_BYTES_KEPT_FREE = 2 * 1024**3


class CacheFull(ClientError):
    """The model does not fit in the cache beside the models in use."""

    code: ClassVar[str] = "cache_full"


class DigestMismatch(ClientError):
    """The downloaded bytes are not the ones asked for."""

    code: ClassVar[str] = "digest_mismatch"
    retryable: ClassVar[bool] = True


class ModelCache:
    """A folder of models under a cap of bytes. Filled by one thread at a time, read by others.

    `disk_bytes_kept_free` stay free on the disk; `disk_bytes_free` asks it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        bytes_max: int,
        disk_bytes_kept_free: int = DISK_BYTES_KEPT_FREE,
        disk_bytes_free: Callable[[Path], int] | None = None,
    ) -> None:
        self._models = folder / "models"
        self._partial = folder / "partial"
        self._bytes_max = bytes_max
        self._disk_bytes_kept_free = disk_bytes_kept_free
        self._disk_bytes_free = disk_bytes_free or _disk_bytes_free
        for each in (self._models, self._partial):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path:
        """Return where a model is, or will be."""
        return self._models / sha256

    def has(self, sha256: str) -> bool:
        """Return True when a checked model is here."""
        return self.path(sha256).exists()

    def list_models(self) -> list[str]:
        """Return the hashes of the cached models, most recently used first."""
        entries = sorted(os.scandir(self._models), key=lambda entry: -entry.stat().st_mtime_ns)
        return [entry.name for entry in entries]

    def touch(self, sha256: str) -> None:
        """Note that a model was used just now."""
        os.utime(self.path(sha256))

    def partial_path(self, sha256: str) -> Path:
        """Return the file in which a download grows."""
        return self._partial / sha256

    def partial_bytes(self, sha256: str) -> int:
        """Return how much of a model is here from an earlier attempt."""
        path = self.partial_path(sha256)
        return path.stat().st_size if path.exists() else 0

    def has_disk_to_spare(self) -> bool:
        """Return True while the disk has more free than is left to the owner: only then is more work asked for."""
        return self._disk_bytes_free(self._models) > self._disk_bytes_kept_free

    def make_room(self, model_bytes: int, *, in_use: Collection[str], here_bytes: int = 0) -> None:
        """Delete the least recently used models until `model_bytes` more fit; raises CacheFull and deletes none.

        `here_bytes` of them are on the disk already, from a download that was cut.
        """
        sizes = {entry.name: entry.stat().st_size for entry in os.scandir(self._models)}
        kept = sum(size for name, size in sizes.items() if name in in_use)
        used = sum(sizes.values())
        to_spare = self._disk_bytes_free(self._models) - self._disk_bytes_kept_free + here_bytes
        if model_bytes + kept > self._bytes_max:
            raise CacheFull(f"a model of {model_bytes} bytes does not fit in a cache of {self._bytes_max}")
        if model_bytes > to_spare + used - kept:
            raise CacheFull(
                f"a model of {model_bytes} bytes would leave the disk less than {self._disk_bytes_kept_free}"
            )
        free = min(self._bytes_max - used, to_spare)
        for sha256 in reversed(self.list_models()):
            if free >= model_bytes:
                return
            if sha256 not in in_use:
                self.path(sha256).unlink(missing_ok=True)
                free += sizes[sha256]

    def admit(self, sha256: str) -> None:
        """Give a complete download its name if its content has that hash; else delete it and raise DigestMismatch."""
        partial = self.partial_path(sha256)
        digest = hashlib.sha256()
        with partial.open("rb") as file:
            while piece := file.read(READ_BYTES):
                digest.update(piece)
            os.fsync(file.fileno())
        if digest.hexdigest() != sha256:
            partial.unlink()
            raise DigestMismatch("the model that arrived has another SHA-256 than the one asked for")
        rename_durably(partial, self.path(sha256))

    def sweep(self) -> None:
        """Delete cut downloads of the past; called when no unit waits for one."""
        for path in self._partial.iterdir():
            path.unlink(missing_ok=True)


def _disk_bytes_free(folder: Path) -> int:
    """Return the bytes that this user may still write on a folder's disk."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
