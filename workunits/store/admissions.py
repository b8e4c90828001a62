"""What the web tier and the admission service say to each other about models."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db.models import F, Q

from workunits.domain.states import BatchStatus
from workunits.models import Batch, ModelAdmission, OnnxModel
from workunits.store.batches import WAITS_FOR_AUDITS

REASON_CHARACTERS_MAX: Final = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class AskedModel:
    """A model that waits for the admission service, as the web tier describes it. None of this is to be believed."""

    model_id: int
    sha256: str
    size_bytes: int
    request: Mapping[str, Any]
    facts: Mapping[str, Any]
    attempts: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What the service decided; `log_index` is set for a signed one, `reason` for a refused one."""

    model_id: int
    state: str
    reason: str = ""
    log_index: int | None = None


def request_admission(model: OnnxModel, *, request: Mapping[str, Any], now: datetime) -> None:
    """Ask for a model that intake has just stored; in the caller's transaction."""
    ModelAdmission.objects.create(model=model, sha256=model.blob_id, request=dict(request), requested_at=now)


def get_admission(batch_id: int) -> tuple[str, str]:
    """Return `(state, reason)` of a batch's model; `("requested", "")` where nobody has asked yet."""
    found = ModelAdmission.objects.filter(model__batches__id=batch_id).values_list("state", "reason").first()
    return (str(found[0]), str(found[1])) if found else (ModelAdmission.State.REQUESTED.value, "")


def note_awaiting(batch_id: int, *, reason: str) -> None:
    """Let the researcher see why a queued batch does not start; writes only where it says something else."""
    queued = Batch.objects.filter(id=batch_id, status=BatchStatus.QUEUED.value)
    queued.exclude(status_reason=reason).update(status_reason=reason)


def take_asked(*, without: Collection[int] = ()) -> AskedModel | None:
    """Return the model that waits longest; None where none waits but those named."""
    waiting = ModelAdmission.objects.filter(state=ModelAdmission.State.REQUESTED).exclude(model_id__in=without)
    row = waiting.order_by("requested_at", "model_id").select_related("model__blob").first()
    if row is None:
        return None
    return AskedModel(
        model_id=row.model_id,
        sha256=row.model.blob_id,
        size_bytes=row.model.blob.size_bytes,
        request=row.request,
        facts={
            "opset": row.model.opset,
            "operators": row.model.operators,
            "inputs": row.model.inputs,
            "outputs": row.model.outputs,
            "batch_rows": row.model.batch_rows,
            "flops_per_row": row.model.flops_per_row,
            "memory_bytes": row.model.memory_bytes,
        },
        attempts=row.attempts,
    )


def note_attempt(model_id: int) -> None:
    """Remember that a model's examination begins, in case that it ends this process."""
    ModelAdmission.objects.filter(model_id=model_id).update(attempts=F("attempts") + 1)


def record_decisions(decisions: Sequence[Decision], *, now: datetime) -> None:
    """Write what was decided, so that batches start or fail."""
    for decision in decisions:
        ModelAdmission.objects.filter(model_id=decision.model_id).update(
            state=decision.state,
            reason=decision.reason[:REASON_CHARACTERS_MAX],
            log_index=decision.log_index,
            decided_at=now,
        )


def record_revoked(sha256: str, *, now: datetime) -> int:
    """Mark every model of this content as revoked; return how many there were."""
    return ModelAdmission.objects.filter(sha256=sha256).update(
        state=ModelAdmission.State.REVOKED, reason="revoked by an operator", decided_at=now
    )


def ask_again(sha256: str, *, now: datetime) -> int:
    """Let the service examine every model of this content once more; return how many there are."""
    return ModelAdmission.objects.filter(sha256=sha256).update(
        state=ModelAdmission.State.REQUESTED, reason="", attempts=0, log_index=None, requested_at=now, decided_at=None
    )


def cancel_revoked_batches() -> int:
    """Ask for the end of every batch whose model was revoked; return how many there were.

    One that only waits for audits is among them: nobody would run them any more.
    """
    running = (BatchStatus.QUEUED, BatchStatus.IN_PROGRESS, BatchStatus.PAUSED)
    revoked = Batch.objects.filter(
        Q(status__in=[status.value for status in running]) | WAITS_FOR_AUDITS,
        model__admission__state=ModelAdmission.State.REVOKED,
    )
    return revoked.update(status=BatchStatus.CANCELLING.value, status_reason="the model was revoked")


def count_admissions() -> dict[str, int]:
    """Return how many models are in each state."""
    states = ModelAdmission.objects.values_list("state", flat=True)
    return {state: sum(found == state for found in states) for state in ModelAdmission.State.values}
