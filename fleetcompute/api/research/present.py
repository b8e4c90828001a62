"""How rows look to researchers. Nothing here names a car, an owner or an internal id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from django.utils import timezone

from workunits.domain.audits.levels import Finality
from workunits.domain.states import UnitState
from workunits.models import Batch, Dataset, OnnxModel, Unit
from workunits.selectors.batches import count_rows, count_running_rows
from workunits.selectors.verification import BatchVerification, WeakerBecause, count_finality, list_verifications

# What `expected_wrong_share` says, and what it does not.
MEANING: Final = (
    "An expectation over the whole fleet, by weight of final results, if at most assumed_adversarial_share of the work"
    " is done by cheats. It is no guarantee for one batch, and provisional rows have no bound."
)
MEANING_WEAKER: Final = {
    WeakerBecause.AUDITED_BY_CARS: " No anchor was there to run the first results of some cars again, so cars did, and"
    " a car may be a friend's: the bound is that of audit_factor_held.",
    WeakerBecause.NO_ANCHOR: " No anchor is there now to run the first results of new cars again, so cars do, and a car"
    " may be a friend's: the bound is that of audit_factor_held.",
}
MEANING_OF_ONE: Final = "The output of one car is believed. Nothing is checked, and no bound is stated."
MEANING_OF_QUORUM: Final = (
    "Outputs of different owners' cars have to agree; no bound is stated, for it would rest on how many owners collude."
)


def present_models(models: Sequence[OnnxModel]) -> list[dict[str, Any]]:
    """Return admitted models."""
    return [present_model(model) for model in models]


def present_model(model: OnnxModel) -> dict[str, Any]:
    """Return an admitted model."""
    return {
        "id": model.public_id,
        "object": "model",
        "name": model.name,
        "sha256": model.blob_id,
        "bytes": model.blob.size_bytes,
        "opset": model.opset,
        "operators": model.operators,
        "inputs": model.inputs,
        "outputs": model.outputs,
        "batch_rows": model.batch_rows,
        "flops_per_row": model.flops_per_row,
        "memory_bytes": model.memory_bytes,
        "created_at": model.created_at,
    }


def present_datasets(datasets: Sequence[Dataset]) -> list[dict[str, Any]]:
    """Return datasets."""
    return [present_dataset(dataset) for dataset in datasets]


def present_dataset(dataset: Dataset) -> dict[str, Any]:
    """Return a dataset."""
    return {
        "id": dataset.public_id,
        "object": "dataset",
        "name": dataset.name,
        "format": dataset.format,
        "sha256": dataset.blob_id,
        "bytes": dataset.blob.size_bytes,
        "rows": dataset.rows,
        "columns": dataset.columns,
        "created_at": dataset.created_at,
    }


def present_batches(batches: Sequence[Batch]) -> list[dict[str, Any]]:
    """Return batches with their live counts, in rows and in units."""
    running, verifications = count_running_rows(batches), list_verifications(batches, now=timezone.now())
    return [_batch(batch, running[batch.pk], verifications[batch.pk]) for batch in batches]


def present_batch(batch: Batch) -> dict[str, Any]:
    """Return one batch."""
    return present_batches([batch])[0]


def present_progress(batch: Batch) -> dict[str, Any]:
    """Return where a batch stands: the cheap answer for those who ask often."""
    running = count_running_rows([batch])[batch.pk]
    return {
        "id": batch.public_id,
        "object": "progress",
        **_progress(batch, running),
        "rows": asdict(count_finality(batch)),
    }


def _batch(batch: Batch, running_rows: int, verification: BatchVerification) -> dict[str, Any]:
    path = f"/api/v1/batches/{batch.public_id}"
    return {
        "id": batch.public_id,
        "object": "batch",
        "model": batch.model.public_id,
        "dataset": batch.dataset.public_id,
        **_progress(batch, running_rows),
        "quorum": batch.quorum,
        "finality": batch.finality,
        "verification": _verification(batch, verification),
        "result_revision": batch.result_revision,
        "notices": [{"at": notice.at, "code": notice.code, "text": notice.text} for notice in verification.notices],
        "priority": batch.priority,
        "unit_target_seconds": batch.unit_target_seconds,
        "unit_rows": batch.unit_rows,
        "price_per_row_microcredits": batch.price_per_row_microcredits,
        "metadata": batch.metadata,
        "created_at": batch.created_at,
        "started_at": batch.started_at,
        "finalizing_at": batch.finalizing_at,
        "ended_at": batch.ended_at,
        "links": {"self": path, "progress": f"{path}/progress", "units": f"{path}/units", "results": f"{path}/results"},
    }


def _verification(batch: Batch, found: BatchVerification) -> dict[str, Any]:
    return {
        "level": found.level.value,
        "audit_factor": found.audit_factor,
        "audit_factor_held": None if found.factor_held is None else round(found.factor_held, 6),
        "weaker_because": found.weaker_because,
        "assumed_adversarial_share": found.adversarial_share,
        "expected_wrong_share": found.expected_wrong_share,
        "meaning": _meaning(found, batch.quorum),
        "audits": asdict(found.audits),
        "anchor_runs": found.anchor_runs,
        "replication": None if found.replication is None else round(found.replication, 3),
        "rows": asdict(found.rows),
        "parties_needed": found.parties_needed,
        "parties_missing": found.parties_missing,
        "premium": found.premium,
    }


def _meaning(found: BatchVerification, quorum: int) -> str:
    if found.expected_wrong_share is None:
        return MEANING_OF_ONE if quorum == 1 else MEANING_OF_QUORUM
    return MEANING + MEANING_WEAKER[found.weaker_because] if found.weaker_because else MEANING


def _progress(batch: Batch, running_rows: int) -> dict[str, Any]:
    progress = batch.progress
    return {
        "status": batch.status,
        "outcome": batch.outcome,
        "status_reason": batch.status_reason,
        "counts": count_rows(batch, running_rows).as_dict(),
        "units": {
            "total": batch.units_total,
            "open": progress.units_open,
            "validated": progress.units_validated,
            "failed": progress.units_failed,
            "cancelled": progress.units_cancelled,
        },
    }


def present_unit(unit: Unit, replicas: dict[str, int]) -> dict[str, Any]:
    """Return a work unit and how many replicas of it are in which state."""
    return {
        "number": unit.number,
        "object": "unit",
        "row_start": unit.row_start,
        "rows": unit.rows,
        "state": unit.state,
        "decided_at": unit.decided_at,
        "reason": unit.reason,
        "finality": _finality(unit),
        "final_at": unit.final_at,
        "reward_microcredits": unit.reward_microcredits,
        "replicas": replicas,
    }


def _finality(unit: Unit) -> str | None:
    if unit.state not in (UnitState.VALIDATED, UnitState.ASSEMBLED):
        return None
    return Finality.PROVISIONAL.value if unit.final_at is None else Finality.FINAL.value
