"""Oversight: what people decide about cars and results, each with a reason and an event that stays.

In: an owner's appeal; an operator's answer, quarantine, or order to run a unit again. Moves: standing (any) ->
QUARANTINED. What the rules decide is the work of other stages; releasing a vehicle is `trust`'s.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Final

from django.db import transaction
from django.db.models import Q

from workunits.domain.audits.levels import is_audited
from workunits.domain.audits.standing import Standing
from workunits.domain.errors import FleetError
from workunits.domain.states import UnitState
from workunits.models import AnchorRun, Batch, TrustEvent, Unit, VehicleStanding
from workunits.store.anchors import AnchorOrder, order_runs
from workunits.store.standings import lock_standing
from workunits.store.units import write_event

APPEAL_CHARS_MAX: Final = 2000
REASON_CHARS_MAX: Final = 240
_DETAIL_CHARS_MAX: Final = 300
_JUDGED: Final = (Standing.WATCHED.value, Standing.QUARANTINED.value)


class ReasonMissing(FleetError):
    """Say why."""

    code: ClassVar[str] = "reason_missing"


class AppealNotPossible(FleetError):
    """This car is not held back, or its last appeal waits for an answer."""

    code: ClassVar[str] = "appeal_not_possible"


class NoAppeal(FleetError):
    """No appeal of this car waits for an answer."""

    code: ClassVar[str] = "no_appeal"


class AlreadyQuarantined(FleetError):
    """This car is quarantined already."""

    code: ClassVar[str] = "already_quarantined"


class UnitNotRepeatable(FleetError):
    """Only units that have a result, of batches whose results are audited, can be run again by an anchor."""

    code: ClassVar[str] = "unit_not_repeatable"


class RunUnderWay(FleetError):
    """An anchor is to run this unit already."""

    code: ClassVar[str] = "run_under_way"


def appeal(*, vehicle_id: int, owner_id: int, text: str, now: datetime) -> None:
    """Ask operators to look at a car that is watched or quarantined; one appeal at a time. Raises AppealNotPossible."""
    said = check_reason(text, APPEAL_CHARS_MAX)
    with transaction.atomic():
        judged = VehicleStanding.objects.filter(
            Q(appealed_at__isnull=True) | Q(appeal_answered_at__isnull=False),
            vehicle_id=vehicle_id,
            vehicle__owner_id=owner_id,
            state__in=_JUDGED,
        )
        changed = judged.update(appeal=said, appealed_at=now, appeal_answer="", appeal_answered_at=None)
        if not changed:
            raise AppealNotPossible
        _note(vehicle_id, TrustEvent.Kind.APPEALED, said, now)


def answer_appeal(*, vehicle_id: int, answer: str, operator: str, now: datetime) -> None:
    """Answer a car's appeal; its owner reads it. Lifts nothing by itself. Raises NoAppeal."""
    said = check_reason(answer, APPEAL_CHARS_MAX)
    with transaction.atomic():
        waiting = VehicleStanding.objects.filter(
            vehicle_id=vehicle_id, appealed_at__isnull=False, appeal_answered_at__isnull=True
        )
        if not waiting.update(appeal_answer=said, appeal_answered_at=now):
            raise NoAppeal
        _note(vehicle_id, TrustEvent.Kind.ANSWERED, f"{operator}: {said}", now)


def quarantine_vehicle(*, vehicle_id: int, reason: str, operator: str, now: datetime) -> None:
    """Give a vehicle no more work; its owner reads the reason and may appeal. Raises AlreadyQuarantined.

    What it holds runs out, and what it has done stays: only an audit can take a result back.
    """
    said = check_reason(reason)
    with transaction.atomic():
        standing, _ = lock_standing(vehicle_id)
        if standing.state == Standing.QUARANTINED:
            raise AlreadyQuarantined
        standing.state, standing.quarantined_at, standing.reason = Standing.QUARANTINED.value, now, said
        standing.save(update_fields=["state", "quarantined_at", "reason"])
        _note(vehicle_id, TrustEvent.Kind.QUARANTINED, f"{operator}: {said}", now)


def order_anchor_run(*, batch_id: int, unit_number: int, reason: str, operator: str, now: datetime) -> None:
    """Have an anchor run a unit again; it judges the result as any anchor's run does.

    Raises UnitNotRepeatable or RunUnderWay.
    """
    said = check_reason(reason)
    level = Batch.objects.filter(id=batch_id).values_list("level", flat=True).first()
    has_result = Unit.objects.filter(
        batch_id=batch_id, number=unit_number, state__in=(UnitState.VALIDATED, UnitState.ASSEMBLED)
    ).exists()
    if level is None or not is_audited(level) or not has_result:
        raise UnitNotRepeatable
    order = AnchorOrder(batch_id=batch_id, unit_number=unit_number, reason=AnchorRun.Reason.OPERATOR.value)
    with transaction.atomic():
        if not order_runs([order], now=now):
            raise RunUnderWay
        write_event(batch_id, unit_number, event="anchor_run_ordered", detail=f"{operator}: {said}", at=now)


def check_reason(text: str, chars_max: int = REASON_CHARS_MAX) -> str:
    """Return what was said, trimmed. Raises ReasonMissing where it is nothing, or too much."""
    said = text.strip()
    if not said:
        raise ReasonMissing
    if len(said) > chars_max:
        raise ReasonMissing(f"Say it in at most {chars_max} characters.")
    return said


def _note(vehicle_id: int, kind: TrustEvent.Kind, detail: str, now: datetime) -> None:
    TrustEvent.objects.create(vehicle_id=vehicle_id, at=now, kind=kind.value, detail=detail[:_DETAIL_CHARS_MAX])
