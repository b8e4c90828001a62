"""An entry of the fleet's public log of models, as the repository carries it beside each model.

The log is a chain: each entry's hash covers the one before. A car cannot see the whole log, but it runs a model only
with an entry that fits it; so a model that ran and is missing from the public log is proof, signed by the admission
service, that the log is not honest.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class LogEntry:
    """The place of a model in the log."""

    index: int
    hash: str


def read_log_entry(custom: Mapping[str, Any] | None, *, sha256: str, size_bytes: int) -> LogEntry | None:
    """Return the log entry that a target carries, or None where it has none or one that does not fit the model."""
    stated = (custom or {}).get("log")
    if not isinstance(stated, dict):
        return None
    previous = stated.get("previous")
    if not isinstance(previous, str) or not _SHA256.fullmatch(previous):
        return None
    entry = {
        "admitted_at": stated.get("admitted_at"),
        "bytes": size_bytes,
        "facts_sha256": stated.get("facts_sha256"),
        "index": stated.get("index"),
        "kind": "admitted",
        "sha256": sha256,
    }
    if not isinstance(entry["index"], int) or entry["index"] < 0:
        return None
    found = chain_hash(previous, entry)
    return LogEntry(index=entry["index"], hash=found) if found == stated.get("hash") else None


def chain_hash(previous: str, entry: Mapping[str, Any]) -> str:
    """Return the hash of an entry that follows the one with the hash `previous` (64 zeros for the first)."""
    canonical = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(previous.encode("ascii") + b"\n" + canonical.encode("ascii")).hexdigest()
