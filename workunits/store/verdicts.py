"""What validation reads and writes, in sets: units to review with their replicas, and the verdicts on them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from workunits.domain.quorum import ReplicaView
from workunits.store.blobs import get_blob_store
from workunits.store.db import fetch_all, fetch_one


class BatchTurn(NamedTuple):
    """The right to give verdicts on a batch, until the transaction ends."""

    batch_id: int
    verdict_number: int
    quorum: int
    status: str


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitReview:
    """A unit to look at, locked, with all its replicas."""

    number: int
    state: str
    needed: int
    canonical_owner_id: int | None
    review_ids: list[int]
    replicas: list[ReplicaView]


@dataclass(kw_only=True, slots=True)
class Verdicts:
    """The verdicts of one drain, as columns. Nothing in it refers to another batch."""

    replicas: list[tuple[int, int, str]] = field(default_factory=list)  # unit, owner, state
    decided: list[tuple[int, str, int | None, str]] = field(
        default_factory=list
    )  # unit, state, canonical owner, reason
    wanting: list[tuple[int, int]] = field(default_factory=list)  # unit, replicas needed
    review_ids: list[int] = field(default_factory=list)  # looked at, and no others

    def add(self, other: Verdicts) -> None:
        """Append another set of verdicts of the same batch."""
        self.replicas += other.replicas
        self.decided += other.decided
        self.wanting += other.wanting
        self.review_ids += other.review_ids


def list_batches_to_review() -> list[int]:
    """Return the batches that have something to validate, by id."""
    return [batch_id for (batch_id,) in fetch_all("list_batches_to_review", {})]


def lock_verdicts(batch_id: int) -> BatchTurn | None:
    """Take the batch's verdict lock, or return None where another worker holds it or the batch is gone."""
    row = fetch_one("lock_batch_verdicts", {"batch_id": batch_id})
    return None if row is None else BatchTurn(batch_id, *row)


def take_reviews(batch_id: int, *, reviews_max: int, only: list[int] | None = None) -> list[UnitReview]:
    """Return the units of the next `reviews_max` reviews, locked; of those in `only`, where it is given."""
    units = fetch_all("lock_reviewed_units", {"batch_id": batch_id, "reviews_max": reviews_max, "only": only})
    replicas: dict[int, list[ReplicaView]] = defaultdict(list)
    numbers = [number for number, *_ in units]
    for number, owner_id, _, state, attempt, digest, reason in fetch_all(
        "list_replicas_of_units", {"batch_id": batch_id, "units": numbers}
    ):
        replicas[number].append(
            ReplicaView(owner_id, state, attempt, None if digest is None else bytes(digest), reason)
        )
    return [
        UnitReview(
            number=number,
            state=state,
            needed=needed,
            canonical_owner_id=canonical_owner_id,
            review_ids=review_ids,
            replicas=replicas[number],
        )
        for number, state, needed, _rows, _reward, canonical_owner_id, review_ids in units
    ]


def apply_verdicts(turn: BatchTurn, verdicts: Verdicts, *, now: datetime) -> int:
    """Write a drain's verdicts and return how many units of the batch are still open."""
    row = fetch_one(
        "apply_verdicts",
        {
            "batch_id": turn.batch_id,
            "verdict_number": turn.verdict_number + 1,
            "now": now,
            "replica_units": [unit for unit, _, _ in verdicts.replicas],
            "replica_owners": [owner for _, owner, _ in verdicts.replicas],
            "replica_states": [state for _, _, state in verdicts.replicas],
            "decided_units": [unit for unit, _, _, _ in verdicts.decided],
            "decided_states": [state for _, state, _, _ in verdicts.decided],
            "decided_owners": [owner for _, _, owner, _ in verdicts.decided],
            "decided_reasons": [reason for _, _, _, reason in verdicts.decided],
            "wanting_units": [unit for unit, _ in verdicts.wanting],
            "wanting_counts": [count for _, count in verdicts.wanting],
            "review_ids": verdicts.review_ids,
        },
    )
    return -1 if row is None else int(row[0])


def read_outputs(batch_id: int, unit_number: int) -> dict[int, bytes]:
    """Return the outputs of a unit by owner, from the rows or the blob store. Call it outside a transaction."""
    rows = fetch_all("read_outputs", {"batch_id": batch_id, "unit_number": unit_number})
    store = get_blob_store()
    return {owner_id: bytes(output) if output is not None else store.read(blob) for owner_id, output, blob in rows}
