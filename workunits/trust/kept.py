"""The repository's files on the admission service's own disk: what is in force, and how it is replaced.

A file is written whole and forced to disk. The timestamp decides what is in force: it names a snapshot, which names
the rest; a root, or targets, that are newer than that were taken in just before a run ended, and count.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from tuf.api.metadata import Metadata, Root, Snapshot, SuccinctRoles, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

from workunits.trust import names
from workunits.trust.folder import write_file
from workunits.trust.log import Head

# A million models in all bins are gigabytes as objects.
BINS_IN_MEMORY_MAX = 32
_COMPACT = JSONSerializer(compact=True)


class KeptFiles:
    """Metadata in force, by role; bins are read when they are asked for."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.root: Metadata[Root] | None = None
        self.targets: Metadata[Targets] | None = None
        self.models: Metadata[Targets] | None = None
        self.snapshot: Metadata[Snapshot] | None = None
        self.timestamp: Metadata[Timestamp] | None = None
        self._bins: dict[str, Metadata[Targets]] = {}
        self._expiries: dict[str, tuple[int, datetime]] = {}
        self._load()

    def names(self) -> Iterator[tuple[str, str, int]]:
        """Yield `(name, role, version)` of every file that a car may fetch now."""
        if self.root is None or self.targets is None or self.timestamp is None or self.snapshot is None:
            return
        for version in range(1, self.root.signed.version + 1):
            yield names.file_name(names.ROOT, version), names.ROOT, version
        for path, target in self.targets.signed.targets.items():
            yield names.target_name(path, target.hashes["sha256"]), names.TARGET, self.targets.signed.version
        for file, meta in self.snapshot.signed.meta.items():
            role = file.removesuffix(".json")
            yield names.file_name(role, meta.version), role, meta.version
        version = self.snapshot.signed.version
        yield names.file_name(names.SNAPSHOT, version), names.SNAPSHOT, version
        yield names.file_name(names.TIMESTAMP, 0), names.TIMESTAMP, self.timestamp.signed.version

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        return (self.place / name).read_bytes()

    def log_head(self) -> Head:
        """Return how much of the log the snapshot in force covers."""
        if self.snapshot is None:
            return Head()
        stated = self.snapshot.signed.unrecognized_fields["log"]
        return Head(count=stated["count"], hash=stated["hash"])

    def succinct(self) -> SuccinctRoles:
        """Return the bins that `models` delegates to."""
        assert self.models is not None
        assert self.models.signed.delegations is not None
        assert self.models.signed.delegations.succinct_roles is not None
        return self.models.signed.delegations.succinct_roles

    def has_bin(self, name: str) -> bool:
        """Whether the snapshot in force names a bin."""
        return self.snapshot is not None and f"{name}.json" in self.snapshot.signed.meta

    def bin(self, name: str) -> Metadata[Targets]:
        """Return a bin that the snapshot names."""
        assert self.snapshot is not None
        version = self.snapshot.signed.meta[f"{name}.json"].version
        known = self._bins.pop(name, None)
        if known is None or known.signed.version != version:
            known = self._read(name, version)
        self._bins[name] = known
        self._expiries[name] = (version, known.signed.expires)
        if len(self._bins) > BINS_IN_MEMORY_MAX:
            del self._bins[next(iter(self._bins))]
        return known

    def bin_expires(self, name: str) -> datetime:
        """Return when a bin expires, without keeping its models in memory."""
        assert self.snapshot is not None
        version, expires = self._expiries.get(name, (0, None))
        if expires is None or version != self.snapshot.signed.meta[f"{name}.json"].version:
            return self.bin(name).signed.expires
        return expires

    def next_version(self, role: str, current: int) -> int:
        """Return the version to write after `current`; one that was written already is never given other content.

        While the fleet is stopped, files are published that no timestamp names; a service that starts again does not
        know them, but caches and the database do.
        """
        version = current + 1
        while (self.place / names.file_name(role, version)).exists():
            version += 1
        return version

    def write(self, role: str, metadata: Metadata[Any]) -> bytes:
        """Put signed metadata where it belongs, and return its bytes."""
        content = metadata.to_bytes(_COMPACT)
        write_file(self.place / names.file_name(role, metadata.signed.version), content)
        return content

    def sweep(self) -> None:
        """Remove what no car is sent any more: older versions, and what a run that was cut off left."""
        kept = {name for name, _, _ in self.names()}
        for path in list(self.place.rglob("*")):
            if path.is_file() and str(path.relative_to(self.place)) not in kept:
                path.unlink()

    def _load(self) -> None:
        version = 1
        while (path := self.place / names.file_name(names.ROOT, version)).exists():
            self.root, version = Metadata[Root].from_file(str(path)), version + 1
        if (path := self.place / names.file_name(names.TIMESTAMP, 0)).exists():
            self.timestamp = Metadata[Timestamp].from_file(str(path))
            self.snapshot = self._read(names.SNAPSHOT, self.timestamp.signed.snapshot_meta.version)
            self.models = self._read(names.MODELS, self.snapshot.signed.meta[f"{names.MODELS}.json"].version)
        versions = [int(path.name.split(".")[0]) for path in self.place.glob(f"*.{names.TARGETS}.json")]
        if versions and self.root is not None:
            self.targets = self._read(names.TARGETS, max(versions))

    def _read(self, role: str, version: int) -> Metadata[Any]:
        return Metadata.from_file(str(self.place / names.file_name(role, version)))
