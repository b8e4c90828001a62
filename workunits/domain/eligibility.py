"""Which batches suit a vehicle, and which of them it is asked to work on first."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workunits.domain.audits.levels import VerificationLevel


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenBatch:
    """A batch with units to lease, as the dispatch board shows it.

    Attributes:
        lane: the hash partition of its units; a sync leases from one lane.
        memory_bytes: what the model needs while it runs.
        opset: the model's ONNX operator set.
        contract: what a car is told of the work, in wire form.
        level: how its results are verified.
        model_id, unit_weight: its model, and what a full unit of it weighs (microcredits).
        barred_owner_ids: owners among its researchers and whoever may be one party with them.
        capped_owner_ids: owners whose cluster holds its share of the batch: re-runs only, no new units.
    """

    batch_id: int
    lane: int
    priority: int
    memory_bytes: int
    opset: int
    model_sha256: str
    contract: Mapping[str, Any]
    level: VerificationLevel = VerificationLevel.QUORUM
    model_id: int = 0
    unit_weight: int = 0
    barred_owner_ids: frozenset[int] = frozenset()
    capped_owner_ids: frozenset[int] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class VehicleOffer:
    """What a vehicle says it can take, and where it left off.

    Attributes:
        wanted: how many more replicas it wants, 0 or more.
        cursor_batch_id: the batch it leased from last.
        misses: consecutive syncs in which it found nothing; it moves the choice on to the next lane.
        owner_id: whose car it is.
        waiting_levels: levels at which too much of its work waits for audits.
    """

    vehicle_id: int
    wanted: int
    memory_bytes: int
    opset_max: int
    cached_models: Collection[str]
    cursor_batch_id: int | None
    misses: int
    owner_id: int = 0
    waiting_levels: frozenset[VerificationLevel] = frozenset()


def suits(batch: OpenBatch, offer: VehicleOffer) -> bool:
    """Return whether the vehicle has the memory and the runtime for this batch's model, and may be given its work."""
    return (
        batch.memory_bytes <= offer.memory_bytes
        and batch.opset <= offer.opset_max
        and batch.level not in offer.waiting_levels
        and offer.owner_id not in batch.barred_owner_ids
    )


def choose_batches(board: Sequence[OpenBatch], offer: VehicleOffer, *, batches_max: int) -> list[OpenBatch]:
    """Return the batches to lease from, best first, all of one lane.

    Batches that have only re-runs for this owner come last. Priority comes first; then a batch whose model the car has
    cached; then the batch it worked on last, so that its cursor stays useful; the rest are spread over the vehicles so
    that they do not all queue at one batch. Misses move on to the next lane, and after all lanes to further batches of
    each: those at the front may for long have nothing but audits that this vehicle must not run.
    """
    suitable = [batch for batch in board if suits(batch, offer)]
    if not suitable or offer.wanted <= 0:
        return []
    spread = len(suitable)

    def rank(indexed: tuple[int, OpenBatch]) -> tuple[bool, int, bool, bool, int]:
        index, batch = indexed
        return (
            offer.owner_id in batch.capped_owner_ids,
            -batch.priority,
            batch.model_sha256 not in offer.cached_models,
            batch.batch_id != offer.cursor_batch_id,
            (index + offer.vehicle_id) % spread,
        )

    ordered = [batch for _, batch in sorted(enumerate(suitable), key=rank)]
    lanes = list(dict.fromkeys(batch.lane for batch in ordered))
    round_number, turn = divmod(offer.misses, len(lanes))
    in_lane = [batch for batch in ordered if batch.lane == lanes[turn]]
    first = round_number * batches_max % len(in_lane) if len(in_lane) > batches_max else 0
    return (in_lane[first:] + in_lane[:first])[:batches_max]
