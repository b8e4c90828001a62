"""People with offline keys and an admission service's folder, for tests that sign for real."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from workunits.trust import names
from workunits.trust.folder import AdmissionFolder, read_bundle
from workunits.trust.keys import load_public, load_signer, make_key
from workunits.trust.log import ADMITTED, Entry, Head, follow
from workunits.trust.offline import CarConfig, Holders, first_root, first_targets
from workunits.trust.repository import Repository
from workunits.trust.staged import Staged

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
PEOPLE = ("alice", "bob", "carol")
ORIGIN = "https://fleet.example"


class Keys:
    """Three people who sign root and targets, two of them at a time, and the service's folder."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.folder = AdmissionFolder(place / "admission")
        self.bundle = self.folder.make()
        for name in PEOPLE:
            make_key(place / f"{name}.pem", name=name, password=None)
        people = [load_public(place / f"{name}.pub") for name in PEOPLE]
        self.holders = Holders(
            root=people, root_threshold=2, targets=people, targets_threshold=2, online=read_bundle(self.bundle)
        )

    def sign(self, staged: Staged, *people: str) -> Staged:
        for name in people or PEOPLE[:2]:
            staged.sign(load_signer(self.place / f"{name}.pem"))
        return staged

    def first(self, now: datetime = NOW) -> tuple[Staged, Staged]:
        """The first root and targets, signed by two people."""
        root = self.sign(first_root(self.holders, now=now))
        targets = first_targets(self.holders, CarConfig(origins=(ORIGIN,)), now=now)
        targets.in_force = root.metadata
        return root, self.sign(targets)

    def repository(self, **options: object) -> Repository:
        """What the service's disk holds now, as a service that has just started reads it."""
        return Repository(self.folder, **{"bin_bits": 2, **options})  # type: ignore[arg-type]

    def started(self, now: datetime = NOW, **options: object) -> Repository:
        """A repository that has published for the first time."""
        repository = self.repository(**options)
        root, targets = self.first(now)
        repository.take_root(root)
        repository.take_targets(targets)
        repository.sign(now=now)
        return repository


def entry(head: Head, number: int, *, kind: str = ADMITTED) -> Entry:
    return follow(
        head, kind=kind, sha256=f"{number:064x}", size_bytes=100 + number, admitted_at="t", facts_sha256="f" * 64
    )


def assert_whole(repository: Repository) -> None:
    """Every file that the timestamp leads to is on disk, and is the one it leads to."""
    for name, role, version in repository.kept.names():
        content = repository.kept.read(name)
        assert content, name
        if role == names.SNAPSHOT:
            assert repository.kept.timestamp is not None
            repository.kept.timestamp.signed.snapshot_meta.verify_length_and_hashes(content)
            assert repository.kept.timestamp.signed.snapshot_meta.version == version
