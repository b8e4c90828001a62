"""What operators are alarmed of: models whose audits are lost by too many, and audits that nobody can settle.

What is known of the former, pausing them, and taking back what cars lost.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from django.db.models import Exists, Max, OuterRef

from workunits.domain.audits.draws import AuditRules, decay
from workunits.domain.audits.fold import Scope
from workunits.domain.audits.standing import RESETS_WINDOW, Standing
from workunits.domain.states import BatchStatus
from workunits.models import AnchorRun, Audit, Batch, BatchNotice, TrustEvent, VehicleStanding, VehicleTrust
from workunits.store.db import fetch_all, fetch_one
from workunits.store.standings import follow_resets, lock_standing

MISMATCH_CODE: Final = "model_mismatch"
PAUSED_CODE: Final = "model_paused"


class SettledAudit(NamedTuple):
    """A settled audit of a model's result. `settled_at`: when a failed one had its consequences."""

    vehicle_id: int
    cluster_id: int
    comparison_class: str
    has_failed: bool
    level: int
    weight: int
    settled_at: datetime | None
    batch_id: int


class Reset(NamedTuple):
    """A loss of trust: when, with which commitment that life ended, and what it set to nothing."""

    vehicle_id: int
    at: datetime
    sequence: int
    weights: dict[Scope, int]


def list_models_in_doubt(*, since: datetime, vehicles_min: int) -> list[int]:
    """Return the models that so many vehicles lost an audit with since then."""
    rows = fetch_all("list_models_in_doubt", {"since": since, "vehicles_min": vehicles_min})
    return [model_id for (model_id,) in rows]


def list_model_audits(model_id: int, *, since: datetime, audits_max: int) -> list[SettledAudit]:
    """Return a model's settled audits since then, or since its last alarm, newest first."""
    notices = BatchNotice.objects.filter(batch__model_id=model_id, code=MISMATCH_CODE)
    alarmed_at = notices.aggregate(last=Max("at"))["last"]
    parameters = {"model_id": model_id, "since": max(since, alarmed_at or since), "audits_max": audits_max}
    return [SettledAudit._make(row) for row in fetch_all("list_audits_of_model", parameters)]


def list_resets(vehicles: Collection[int], *, since: datetime) -> dict[tuple[int, datetime], Reset]:
    """Return the resets of these vehicles since then, by vehicle and time."""
    events = TrustEvent.objects.filter(vehicle_id__in=vehicles, kind=TrustEvent.Kind.RESET.value, at__gte=since)
    return {
        (event.vehicle_id, event.at): Reset(
            event.vehicle_id,
            event.at,
            event.sequence or 0,
            {Scope(level, model_id, name): weight for level, model_id, name, weight in event.scopes},
        )
        for event in events
    }


def pause_model(model_id: int, *, reason: str, lost_in: Collection[int], now: datetime) -> int:
    """Pause a model's running batches and tell their researchers; return how many. Runs in a transaction.

    The batches that audits were lost in are told as well: what their notice says begins a new count.
    """
    running = Batch.objects.filter(model_id=model_id, status=BatchStatus.IN_PROGRESS.value)
    paused = list(running.values_list("id", flat=True))
    Batch.objects.filter(id__in=paused, status=BatchStatus.IN_PROGRESS.value).update(
        status=BatchStatus.PAUSED.value, status_reason=reason
    )
    BatchNotice.objects.bulk_create(
        BatchNotice(batch_id=batch_id, at=now, code=MISMATCH_CODE, text=reason)
        for batch_id in sorted({*paused, *lost_in})
    )
    return len(paused)


def pause_newcomers(*, since: datetime, now: datetime) -> int:
    """Pause batches that began after an alarm of their model since then, and were told of none; return how many.

    One that was told and runs was resumed by somebody who had read why. Runs in a transaction.
    """
    alarms = BatchNotice.objects.filter(code=MISMATCH_CODE, at__gt=since).order_by("at")
    reasons = dict(alarms.values_list("batch__model_id", "text"))
    told = BatchNotice.objects.filter(batch_id=OuterRef("id"), code__in=(MISMATCH_CODE, PAUSED_CODE))
    running = Batch.objects.filter(~Exists(told), status=BatchStatus.IN_PROGRESS.value, model_id__in=reasons)
    paused = 0
    for batch in running.order_by("id"):
        reason = reasons[batch.model_id]
        guarded = Batch.objects.filter(id=batch.id, status=BatchStatus.IN_PROGRESS.value)
        if guarded.update(status=BatchStatus.PAUSED.value, status_reason=reason):
            BatchNotice.objects.create(batch_id=batch.id, at=now, code=PAUSED_CODE, text=reason)
            paused += 1
    return paused


def roll_back(
    resets: Sequence[Reset], *, model_id: int, classes: Collection[str], reason: str, rules: AuditRules, now: datetime
) -> bool:
    """Give a vehicle back what its resets took, once in thirty days; return whether there was anything to give.

    A reset stays whose life has a lost audit of another model or class. So do the ends of the lives, the revoked
    results, and the nothing that the model itself is believed for in these classes. Locks the vehicle's presence and
    standing. Runs in a transaction.
    """
    vehicle_id = resets[0].vehicle_id
    standing, _ = lock_standing(vehicle_id)
    mine = TrustEvent.objects.filter(vehicle_id=vehicle_id)
    if mine.filter(kind=TrustEvent.Kind.ROLLED_BACK.value, at__gt=now - RESETS_WINDOW).exists():
        return False
    undone = [reset for reset in resets if _has_one_cause(standing, reset, model_id, classes)]
    if not undone:
        return False
    for reset in undone:
        given = {s: weight for s, weight in reset.weights.items() if not (s.model_id == model_id and s[2] in classes)}
        _restore(reset, given, rules, now)
    _lift(standing, {reset.at for reset in undone}, now)
    TrustEvent.objects.create(
        vehicle_id=vehicle_id,
        at=now,
        kind=TrustEvent.Kind.ROLLED_BACK.value,
        sequence=undone[-1].sequence,
        detail=reason,
    )
    return True


def _has_one_cause(standing: VehicleStanding, reset: Reset, model_id: int, classes: Collection[str]) -> bool:
    began = max((end for end in standing.life_ends if end < reset.sequence), default=0)
    lost = Audit.objects.filter(
        vehicle_id=reset.vehicle_id, state="failed", sequence__gt=began, sequence__lte=reset.sequence
    )
    causes = lost.values_list("batch__model_id", "primary_class")
    return all(model == model_id and name in classes for model, name in causes)


def _restore(reset: Reset, given: Mapping[Scope, int], rules: AuditRules, now: datetime) -> None:
    """Add the weights to what was earned since, both as they are worth now."""
    rows = VehicleTrust.objects.select_for_update().filter(vehicle_id=reset.vehicle_id).order_by("id")
    changed = [row for row in rows if given.get(_scope_of(row))]
    for row in changed:
        at = max(now, row.weighed_at)
        earned = decay(row.weight_microcredits, (at - row.weighed_at).total_seconds(), idle_seconds=0.0, rules=rules)
        taken = decay(given[_scope_of(row)], (at - reset.at).total_seconds(), idle_seconds=0.0, rules=rules)
        row.weight_microcredits, row.weighed_at = int(earned + taken), at
    VehicleTrust.objects.bulk_update(changed, ["weight_microcredits", "weighed_at"])


def _scope_of(row: VehicleTrust) -> Scope:
    return Scope(row.level, row.model_id, row.comparison_class)


def _lift(standing: VehicleStanding, undone: Collection[datetime], now: datetime) -> None:
    """Let the standing be what the other resets ask for. An operator's own quarantine stays."""
    if standing.state == Standing.QUARANTINED and standing.quarantined_at in standing.resets:
        standing.state, standing.quarantined_at = Standing.NORMAL.value, None
    standing.resets = [at for at in standing.resets if at not in undone]
    follow_resets(standing, now=now)


class StuckAudits(NamedTuple):
    """Open audits that have waited for too long: how many, and the oldest's unit and age."""

    audits: int
    batch_id: int
    unit_number: int
    since: datetime


def find_stuck_audits(*, opened_before: datetime) -> StuckAudits | None:
    """Return the audits that have been open since before then; None where there are none."""
    row = fetch_one("find_stuck_audits", {"opened_before": opened_before})
    return None if row is None else StuckAudits._make(row)


def count_waiting_runs(*, ordered_before: datetime) -> int:
    """Return how many units have waited for an anchor since before then; calibration may wait."""
    waiting = AnchorRun.objects.filter(state=AnchorRun.State.WAITING.value, created_at__lte=ordered_before)
    return waiting.exclude(reason=AnchorRun.Reason.CALIBRATION.value).count()


class ModelNotRun(NamedTuple):
    """A model of which anchors could not run so many units, and why the last of them."""

    model_id: int
    units: int
    error: str


def list_models_not_run(*, since: datetime) -> list[ModelNotRun]:
    """Return the models of which anchors gave up units since then."""
    return [ModelNotRun._make(row) for row in fetch_all("list_models_not_run", {"since": since})]
