"""Builds the service's folder again from the published copy, when it was lost or an old backup took its place.

The keys are gone with the folder; what they signed is not. Every file is believed for its signatures only, and then
new keys are made, which people let in with a root and targets (`trust_rotate online`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from workunits.trust import names
from workunits.trust.errors import TrustError
from workunits.trust.folder import AdmissionFolder, write_file
from workunits.trust.log import REVOKED, Entry, Head, LogFile, check_chain

Read = Callable[[str], bytes | None]


class CopyUnusable(TrustError):
    """The published copy is not what it was signed as; the text names the file."""

    code: ClassVar[str] = "copy_unusable"


def restore(folder: AdmissionFolder, *, read: Read, entries: Sequence[Entry]) -> int:
    """Write every published file into an empty folder, each verified; return the root's version.

    `read` gives a published file by its name, `entries` are the whole public log. Raises CopyUnusable, and then
    nothing was written.
    """
    if any(folder.repository.rglob("*.json")) or folder.log.exists():
        raise CopyUnusable(f"{folder.path} is not empty: move what is there away first")
    try:
        files, root = _collect(read, entries)
    except RepositoryError as error:
        raise CopyUnusable(f"the published copy cannot be believed: {error}") from None
    timestamp = files.pop(names.file_name(names.TIMESTAMP, 0))
    for name, content in files.items():
        place = folder.repository / name
        place.parent.mkdir(parents=True, exist_ok=True)
        write_file(place, content)
    LogFile(folder.log).append(entries)
    last_word = {entry.sha256: entry.kind for entry in entries}
    folder.write_denied(sha256 for sha256, kind in last_word.items() if kind == REVOKED)
    write_file(folder.repository / names.file_name(names.TIMESTAMP, 0), timestamp)
    return root.version


def _collect(read: Read, entries: Sequence[Entry]) -> tuple[dict[str, bytes], Root]:
    files: dict[str, bytes] = {}

    def take(role: str, version: int, delegator: Root | Targets | None = None) -> Any:
        name = names.file_name(role, version)
        files[name] = _need(read, name)
        metadata: Metadata[Any] = Metadata.from_bytes(files[name])
        known = delegator or metadata.signed
        known.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
        return metadata.signed

    root: Root = take(names.ROOT, 1)
    while read(names.file_name(names.ROOT, root.version + 1)) is not None:
        root = take(names.ROOT, root.version + 1, root)
    timestamp: Timestamp = take(names.TIMESTAMP, 0, root)
    snapshot: Snapshot = take(names.SNAPSHOT, timestamp.snapshot_meta.version, root)
    targets: Targets = take(names.TARGETS, snapshot.meta[f"{names.TARGETS}.json"].version, root)
    models: Targets = take(names.MODELS, snapshot.meta[f"{names.MODELS}.json"].version, targets)
    for file, meta in snapshot.meta.items():
        role = file.removesuffix(".json")
        if role not in (names.TARGETS, names.MODELS):
            take(role, meta.version, models)
    for path, target in targets.targets.items():
        name = names.target_name(path, target.hashes["sha256"])
        files[name] = _need(read, name)
        target.verify_length_and_hashes(files[name])
    stated = snapshot.unrecognized_fields["log"]
    if check_chain(entries) != Head(count=stated["count"], hash=stated["hash"]):
        raise CopyUnusable("the public log is not the one whose head was signed")
    return files, root


def _need(read: Read, name: str) -> bytes:
    content = read(name)
    if content is None:
        raise CopyUnusable(f"{name} is not among the published files")
    return content
