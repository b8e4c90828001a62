"""The public log of models: a chain of entries, each one's hash covering the one before, kept as JSON lines.

Nothing is ever taken out; a revocation is an entry of its own. The head (count and hash) stands in the signed
snapshot, so every car that looks sees the same log or proves that it does not.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

from workunits.trust.errors import TrustError

FIRST_PREVIOUS: Final = "0" * 64
ADMITTED: Final = "admitted"
REVOKED: Final = "revoked"


class LogBroken(TrustError):
    """The log on disk is not the chain it was; somebody has changed it."""

    code: ClassVar[str] = "log_broken"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One line of the log. `hash` covers everything before it and every other field."""

    index: int
    kind: str
    sha256: str
    size_bytes: int
    admitted_at: str
    facts_sha256: str
    previous: str
    hash: str

    def custom(self) -> dict[str, Any]:
        """Return what the repository carries beside the model, so that a car can see that the entry fits."""
        return {
            "log": {
                "index": self.index,
                "admitted_at": self.admitted_at,
                "facts_sha256": self.facts_sha256,
                "previous": self.previous,
                "hash": self.hash,
            }
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """Where the chain ends: how many entries, and the hash of the last."""

    count: int = 0
    hash: str = FIRST_PREVIOUS


def follow(head: Head, *, kind: str, sha256: str, size_bytes: int, admitted_at: str, facts_sha256: str) -> Entry:
    """Return the entry that comes after the head."""
    members = {
        "index": head.count,
        "kind": kind,
        "sha256": sha256,
        "bytes": size_bytes,
        "admitted_at": admitted_at,
        "facts_sha256": facts_sha256,
    }
    return Entry(
        index=head.count,
        kind=kind,
        sha256=sha256,
        size_bytes=size_bytes,
        admitted_at=admitted_at,
        facts_sha256=facts_sha256,
        previous=head.hash,
        hash=chain_hash(head.hash, members),
    )


def check_chain(entries: Sequence[Entry], *, head: Head | None = None) -> Head:
    """Return the head after these entries. Raises LogBroken at the first that does not follow."""
    reached = head or Head()
    for entry in entries:
        expected = follow(
            reached,
            kind=entry.kind,
            sha256=entry.sha256,
            size_bytes=entry.size_bytes,
            admitted_at=entry.admitted_at,
            facts_sha256=entry.facts_sha256,
        )
        if entry != expected:
            raise LogBroken(f"entry {entry.index} does not follow entry {reached.count - 1}")
        reached = Head(count=entry.index + 1, hash=entry.hash)
    return reached


def chain_hash(previous: str, entry: Mapping[str, Any]) -> str:
    """Return the hash of an entry that follows the one with the hash `previous`."""
    canonical = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(previous.encode("ascii") + b"\n" + canonical.encode("ascii")).hexdigest()


def digest_facts(facts: Mapping[str, Any]) -> str:
    """Return the digest of what an examination found: those facts that come out the same on every machine."""
    same = {name: facts[name] for name in ("opset", "operators", "inputs", "outputs", "batch_rows", "flops_per_row")}
    return hashlib.sha256(json.dumps(same, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class LogFile:
    """The log on the service's own disk: its only truth. One writer."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._cut_torn_line()
        self.head = check_chain(list(self.read()))

    def read(self, start: int = 0) -> Iterator[Entry]:
        """Yield the entries from an index on. Raises LogBroken."""
        if not self._path.exists():
            return
        with self._path.open() as file:
            for number, line in enumerate(file):
                if number >= start:
                    try:
                        yield Entry(**json.loads(line))
                    except (TypeError, ValueError):
                        raise LogBroken(f"line {number + 1} of {self._path} is no entry") from None

    def append(self, entries: Sequence[Entry]) -> None:
        """Write entries that follow the head, and force them to disk."""
        head = check_chain(entries, head=self.head)
        lines = "".join(json.dumps(asdict(entry), separators=(",", ":")) + "\n" for entry in entries)
        with self._path.open("a") as file:
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
        self.head = head

    def _cut_torn_line(self) -> None:
        """Drop a last line that a power cut left unfinished: nothing was signed or shown of it."""
        if not self._path.exists():
            return
        content = self._path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(self._path, whole)
