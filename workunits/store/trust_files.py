"""The published copy of the repository and of the public log, and the orders of operators.

Any web process serves from here. It is a copy: whoever changes it can only keep cars from finding what is signed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction

from workunits.models import AdmissionLogEntry, TrustFile, TrustOrder
from workunits.store.db import fetch_one

# A car that has begun to read an older snapshot may still fetch what it names.
REPLACED_KEPT: Final = timedelta(days=1)
OUTCOME_CHARACTERS_MAX: Final = 300
PUBLISHING_LOCK: Final = 0x7_1057
LOG_PAGE_MAX: Final = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedFile:
    """A file to publish."""

    name: str
    role: str
    version: int
    content: bytes


def claim_publishing() -> bool:
    """Hold the only right to publish for as long as this connection lives; False where another process has it."""
    row = fetch_one("claim_publishing", {"lock": PUBLISHING_LOCK})
    return bool(row and row[0])


def get_trust_file(name: str) -> tuple[bytes, int] | None:
    """Return `(content, version)` of a published file."""
    found = TrustFile.objects.filter(name=name).values_list("content", "version").first()
    return (bytes(found[0]), int(found[1])) if found else None


def list_published() -> dict[str, int]:
    """Return the files in force, with their versions."""
    return dict(TrustFile.objects.filter(replaced_at=None).values_list("name", "version"))


def publish_files(
    files: Sequence[PublishedFile], *, kept: Iterable[str], entries: Iterable[Mapping[str, Any]], now: datetime
) -> None:
    """Show new files and log entries at once: a car sees all of a signing or nothing of it.

    `kept` names every file in force; others are removed a day after they were replaced.
    """
    with transaction.atomic():
        for file in files:
            TrustFile.objects.update_or_create(
                name=file.name,
                defaults={
                    "role": file.role,
                    "version": file.version,
                    "content": file.content,
                    "published_at": now,
                    "replaced_at": None,
                },
            )
        AdmissionLogEntry.objects.bulk_create([AdmissionLogEntry(**entry) for entry in entries], batch_size=500)
        TrustFile.objects.filter(replaced_at=None).exclude(name__in=list(kept)).update(replaced_at=now)
        TrustFile.objects.filter(replaced_at__lt=now - REPLACED_KEPT).delete()


def get_log_end() -> tuple[int, str]:
    """Return how many entries the published log has, and the hash of the last (empty where there is none)."""
    last = AdmissionLogEntry.objects.order_by("-index").values_list("index", "hash").first()
    return (int(last[0]) + 1, str(last[1])) if last else (0, "")


def list_log(*, start: int, limit: int) -> list[dict[str, Any]]:
    """Return entries of the published log from an index on."""
    entries = AdmissionLogEntry.objects.filter(index__gte=start).order_by("index")[: min(limit, LOG_PAGE_MAX)]
    names = ("index", "kind", "sha256", "size_bytes", "admitted_at", "facts_sha256", "previous", "hash")
    return [{name: getattr(entry, name) for name in names} for entry in entries]


def iter_log() -> Iterator[dict[str, Any]]:
    """Yield the whole published log."""
    start = 0
    while page := list_log(start=start, limit=LOG_PAGE_MAX):
        yield from page
        start = page[-1]["index"] + 1


def give_order(kind: str, *, sha256: str = "", content: bytes = b"", now: datetime) -> int:
    """Ask the admission service for something; return the order's number."""
    return int(TrustOrder.objects.create(kind=kind, sha256=sha256, content=content, created_at=now).id)


def list_open_orders() -> list[TrustOrder]:
    """Return what operators have asked for and is not done yet, in their order."""
    return list(TrustOrder.objects.filter(done_at=None).order_by("id"))


def list_revoked() -> set[str]:
    """Return every model that operators have ever asked to revoke."""
    return set(TrustOrder.objects.filter(kind=TrustOrder.Kind.REVOKE).values_list("sha256", flat=True))


def close_order(order_id: int, *, outcome: str, now: datetime) -> None:
    """Say what came of an order."""
    TrustOrder.objects.filter(id=order_id).update(outcome=outcome[:OUTCOME_CHARACTERS_MAX], done_at=now)


def get_order(order_id: int) -> TrustOrder:
    """Return an order."""
    return TrustOrder.objects.get(id=order_id)
