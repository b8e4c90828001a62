"""Where vehicles stand as rows, and what a lost dispute does to one: its life ends, and its results are queued."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import F, Max

from workunits.domain.audits.fold import Losses, Scope
from workunits.domain.audits.standing import RESETS_WINDOW, Standing, standing_after
from workunits.models import Audit, TrustEvent, VehiclePresence, VehicleStanding, VehicleTrust
from workunits.models.verification import VehicleCommit
from workunits.store.db import execute, fetch_all
from workunits.store.trust_weights import DueVehicle, fill_records, put_due

DETAIL_CHARS_MAX = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class LosingVehicle:
    """A vehicle with failed audits that had no consequences yet, its presence and standing locked.

    `committed`: its last commitment. `record`: its audits, weights and what is final.
    """

    standing: VehicleStanding
    committed: int
    failures: list[Audit]
    record: DueVehicle


def list_losing_vehicles(*, vehicles_max: int) -> list[int]:
    """Return vehicles with failed audits that had no consequences yet, by id."""
    rows = fetch_all("list_losing_vehicles", {"vehicles_max": vehicles_max})
    return [vehicle_id for (vehicle_id,) in rows]


def begin_standing(vehicle_id: int) -> None:
    """Make a vehicle's standing where there is none. Call it outside a transaction.

    A fold makes it as well, while others wait for what the fold holds: it must never wait for one that holds more.
    """
    VehicleStanding.objects.bulk_create([VehicleStanding(vehicle_id=vehicle_id)], ignore_conflicts=True)


def lock_losing_vehicle(vehicle_id: int) -> LosingVehicle | None:
    """Lock a vehicle and read what it lost; None where another worker has settled it. Runs in a transaction.

    A sync under way ends first, so that every commitment is counted; the next one finds another life and draws anew.
    """
    standing, committed = lock_standing(vehicle_id)
    failures = list(
        Audit.objects.filter(vehicle_id=vehicle_id, state="failed", settled_at__isnull=True).order_by("sequence", "id")
    )
    if not failures:
        return None
    record = DueVehicle(vehicle_id=vehicle_id, folded=standing.folded_sequence, life_ends=list(standing.life_ends))
    fill_records({vehicle_id: record})
    return LosingVehicle(standing=standing, committed=committed, failures=failures, record=record)


def lock_standing(vehicle_id: int) -> tuple[VehicleStanding, int]:
    """Lock a vehicle's presence and standing, made where there is none; return the latter and its last commitment."""
    presence = VehiclePresence.objects.select_for_update().filter(vehicle_id=vehicle_id).first()
    VehicleStanding.objects.bulk_create([VehicleStanding(vehicle_id=vehicle_id)], ignore_conflicts=True)
    standing = VehicleStanding.objects.select_for_update().get(vehicle_id=vehicle_id)
    if presence is not None:
        return standing, presence.commit_sequence
    newest = VehicleCommit.objects.filter(vehicle_id=vehicle_id).aggregate(newest=Max("sequence"))["newest"]
    return standing, newest or 0


def queue_losses(vehicle: LosingVehicle, losses: Losses, *, now: datetime) -> int:
    """Queue what the failed audits take back, and note that they had their consequences; return how many results."""
    queued = execute(
        "queue_revocations",
        {
            "vehicle_id": vehicle.record.vehicle_id,
            "audits": [each.audit_id for each in losses.taken],
            "levels": [each.level for each in losses.taken],
            "afters": [each.span.after for each in losses.taken],
            "uptos": [each.span.upto for each in losses.taken],
            "failures": [audit.id for audit in vehicle.failures],
            "now": now,
        },
    )
    Audit.objects.filter(id__in=[audit.id for audit in vehicle.failures]).update(settled_at=now)
    put_due([vehicle.record.vehicle_id])
    return queued


def end_life(vehicle: LosingVehicle, *, now: datetime) -> None:
    """Set all that the vehicle was believed to nothing, and let its standing follow from its resets."""
    vehicle_id, standing, cause = vehicle.record.vehicle_id, vehicle.standing, vehicle.failures[0]
    before = vehicle.record.weights.get(Scope(cause.level))
    VehiclePresence.objects.filter(vehicle_id=vehicle_id).update(trust_life=F("trust_life") + 1)
    VehicleTrust.objects.filter(vehicle_id=vehicle_id).update(weight_microcredits=0, weighed_at=now)
    TrustEvent.objects.create(
        vehicle_id=vehicle_id,
        at=now,
        kind=TrustEvent.Kind.RESET.value,
        level=cause.level,
        sequence=vehicle.committed,
        batch_id=cause.batch_id,
        unit_number=cause.unit_number,
        weight_before=0 if before is None else int(before.weight),
        weight_after=0,
        detail=f"lost the audit of its commitment {cause.sequence}",
        scopes=[[*scope, int(weighed.weight)] for scope, weighed in vehicle.record.weights.items()],
    )
    standing.life_ends.append(vehicle.committed)
    standing.resets = [at for at in standing.resets if now - at < RESETS_WINDOW] + [now]
    follow_resets(standing, now=now)


def follow_resets(standing: VehicleStanding, *, now: datetime) -> None:
    """Let a vehicle's standing be what its resets ask for, and write it; an operator's quarantine stays."""
    state = standing_after(standing.resets, now)
    if standing.state not in (Standing.QUARANTINED, state):
        _move(standing, state, now)
    standing.save(update_fields=["life_ends", "resets", "state", "quarantined_at", "reason"])


def _move(standing: VehicleStanding, state: Standing, now: datetime) -> None:
    standing.state = state.value
    if state == Standing.NORMAL:
        standing.reason = ""
        return
    standing.reason = f"{len(standing.resets)} times within {RESETS_WINDOW.days} days a result was found wrong"
    kind = TrustEvent.Kind.WATCHED
    if state == Standing.QUARANTINED:
        kind, standing.quarantined_at = TrustEvent.Kind.QUARANTINED, now
    TrustEvent.objects.create(vehicle_id=standing.vehicle_id, at=now, kind=kind.value, detail=standing.reason)


def lift_standing(vehicle_id: int, *, reason: str, now: datetime) -> bool:
    """Let a watched or quarantined vehicle be a normal one; False where it is neither. Runs in a transaction."""
    standing, _ = lock_standing(vehicle_id)
    if standing.state == Standing.NORMAL:
        return False
    before, standing.state, standing.resets = standing.state, Standing.NORMAL.value, []
    standing.quarantined_at, standing.reason = None, ""
    standing.save(update_fields=["state", "resets", "quarantined_at", "reason"])
    TrustEvent.objects.create(
        vehicle_id=vehicle_id,
        at=now,
        kind=TrustEvent.Kind.RELEASED.value,
        detail=f"was {before}: {reason}"[:DETAIL_CHARS_MAX],
    )
    return True
