"""The dispatch board: this process's picture of which batches have work, at most a second old.

It is a hint that saves each sync a search; the lease statement itself checks that the batch is still in progress.
Contracts never change once a batch is split, so they are kept for good, a bounded number of them.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import orjson

from workunits.domain.audits.levels import VerificationLevel
from workunits.domain.eligibility import OpenBatch
from workunits.domain.errors import FleetError
from workunits.domain.types import TensorSpec
from workunits.models import Batch
from workunits.store.db import call_function


def read_open_batches() -> list[OpenBatch]:
    """Return the batches that have a unit to lease, by priority, oldest first."""
    return [
        OpenBatch(
            batch_id=batch_id,
            lane=lane,
            priority=priority,
            memory_bytes=memory_bytes,
            opset=opset,
            model_sha256=model_sha256,
            contract=_as_mapping(contract),
            level=VerificationLevel(level),
            model_id=model_id,
            unit_weight=unit_weight,
            barred_owner_ids=frozenset(barred or ()),
            capped_owner_ids=frozenset(capped),
        )
        for batch_id, lane, priority, memory_bytes, opset, model_sha256, contract, *more in call_function(
            "list_open_batches", {}
        )
        for level, model_id, unit_weight, barred, capped in [more]
    ]


def _as_mapping(value: Any) -> Mapping[str, Any]:
    # Django registers a no-op JSON loader on its connections, so a raw cursor sees jsonb as text.
    return orjson.loads(value) if isinstance(value, str | bytes) else value  # type: ignore[no-any-return]


class DispatchBoard:
    """Remembers `read_open_batches` for `seconds`; one instance a process, shared by its threads."""

    def __init__(self, seconds: float) -> None:
        self._lifetime = timedelta(seconds=seconds)
        self._lock = threading.Lock()
        self._read_at: datetime | None = None
        self._batches: Sequence[OpenBatch] = ()

    def batches(self, now: datetime) -> Sequence[OpenBatch]:
        """Return the board, read again where it is older than its lifetime."""
        if self._read_at is not None and abs(now - self._read_at) < self._lifetime:
            return self._batches
        # One thread reads; the others go on with what is there, unless there is nothing yet.
        if self._lock.acquire(blocking=self._read_at is None):
            try:
                self._batches = read_open_batches()
                self._read_at = now
            finally:
                self._lock.release()
        return self._batches


class BatchUnknown(FleetError):
    """No such batch."""

    code: ClassVar[str] = "not_found"


class BatchTerms(NamedTuple):
    """What never changes of a batch once it is split: its contract in wire form, how it is verified, its model."""

    contract: Mapping[str, Any]
    level: VerificationLevel
    model_id: int


@lru_cache(maxsize=4096)
def get_terms(batch_id: int) -> BatchTerms:
    """Return a batch's terms.

    Raises:
        BatchUnknown: there is no such batch, or it has no contract yet; not remembered, for it may come to be.
    """
    row = Batch.objects.filter(id=batch_id).values_list("contract", "level", "model_id").first()
    if row is None or not row[0]:
        raise BatchUnknown(f"there is no batch {batch_id}")
    return BatchTerms(row[0], VerificationLevel(row[1]), row[2])


def get_contract(batch_id: int) -> Mapping[str, Any]:
    """Return a batch's contract in wire form. Raises BatchUnknown."""
    return get_terms(batch_id).contract


@lru_cache(maxsize=4096)
def get_output_specs(batch_id: int) -> tuple[TensorSpec, ...]:
    """Return what a batch's outputs look like, one row each. Raises BatchUnknown."""
    return tuple(
        TensorSpec(name=item["name"], dtype=item["dtype"], shape=tuple(item["shape"]))
        for item in get_contract(batch_id)["outputs"]
    )


@lru_cache(maxsize=4096)
def get_lane(batch_id: int) -> int | None:
    """Return the hash partition of a batch's units and replicas, or None where there is no such batch."""
    return Batch.objects.filter(id=batch_id, lane__gte=0).values_list("lane", flat=True).first()
