"""Identity: a car's key after pairing. It is rotated here, and a copy of it in a second car is noticed here.

A rotation is one transaction: the counter, the new key, the old one kept beside it. A car whose answer was lost asks
again with the same new key, signed by the old one, and is answered as the first time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from django.db import IntegrityError, transaction

from workunits.domain.errors import FleetError
from workunits.domain.owner_rules.rules import RulesInvalid, read_rules
from workunits.domain.twins import is_suspected, note_mark
from workunits.models import Vehicle, VehiclePresence
from workunits.store.vehicles import AboutCar, KnownVehicle, note_identity

# A clock that drifts by less is not worth a write.
SKEW_STEP_SECONDS = 5.0
RULES_BYTES_MAX = 16 * 1024


class RotationReplayed(FleetError):
    """The counter is not greater than the last one this vehicle sent."""

    code: ClassVar[str] = "counter_replayed"


class RotationConflict(FleetError):
    """The key was rotated or the vehicle removed at the same time."""

    code: ClassVar[str] = "sync_conflict"
    retryable: ClassVar[bool] = True


class NewKeyTaken(FleetError):
    """The new key is, or has just been, a vehicle's key."""

    code: ClassVar[str] = "key_already_paired"


class VehicleRulesInvalid(FleetError):
    """The rules cannot be given to a vehicle."""

    code: ClassVar[str] = "vehicle_rules_invalid"


@dataclass(frozen=True, kw_only=True, slots=True)
class SaidOfItself:
    """What a sync says about the installation, the process, the sandbox and the clock; empty or None: nothing."""

    instance: str = ""
    boot: str = ""
    walls: tuple[str, ...] | None = None
    clock_skew_seconds: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Recognition:
    """Whether a copy of this car's key is suspected, and what has to be written after the sync (None: nothing)."""

    is_suspected: bool
    news: AboutCar | None = None
    suspected_at: datetime | None = None


def recognise(vehicle: KnownVehicle, said: SaidOfItself, now: datetime) -> Recognition:
    """Compare what a car says with what is known of it. Reads and writes nothing."""
    before = vehicle.about
    processes, is_twin = note_mark(before.processes, said.boot, now)
    after = AboutCar(
        instance=said.instance or before.instance,
        processes=processes,
        walls=before.walls if said.walls is None else said.walls,
        clock_skew_seconds=_settled_skew(before.clock_skew_seconds, said.clock_skew_seconds),
    )
    suspected_at = now if is_twin else vehicle.clone_suspected_at
    return Recognition(
        is_suspected=is_suspected(suspected_at, now),
        news=after if after != before or is_twin else None,
        suspected_at=now if is_twin else None,
    )


def remember(vehicle: KnownVehicle, recognition: Recognition) -> None:
    """Write what a sync that was accepted has shown, if it is new: one statement, seldom."""
    if recognition.news is not None:
        note_identity(vehicle.vehicle_id, recognition.news, clone_suspected_at=recognition.suspected_at)


def rotate_key(*, vehicle: KnownVehicle, signed_with: bytes, new_key: bytes, counter: int, now: datetime) -> None:
    """Replace a vehicle's key by one that the caller has proved to hold; again with the same keys changes nothing.

    Raises:
        RotationReplayed, RotationConflict, NewKeyTaken: nothing changed.
    """
    if new_key == vehicle.public_key and signed_with == vehicle.previous_public_key:
        return
    if signed_with != vehicle.public_key:
        raise RotationConflict
    try:
        with transaction.atomic():
            _take_counter(vehicle, counter)
            if Vehicle.objects.filter(public_key=new_key).exists() or new_key == vehicle.previous_public_key:
                raise NewKeyTaken
            if not Vehicle.objects.filter(
                id=vehicle.vehicle_id, public_key=vehicle.public_key, status=Vehicle.Status.ACTIVE
            ).update(public_key=new_key, previous_public_key=vehicle.public_key, rotated_at=now):
                raise RotationConflict
    except IntegrityError:
        raise NewKeyTaken from None  # by another vehicle, in the same moment


def _take_counter(vehicle: KnownVehicle, counter: int) -> None:
    presence = VehiclePresence.objects.filter(vehicle_id=vehicle.vehicle_id, counter__lt=counter)
    if not presence.update(counter=counter):
        raise RotationReplayed(f"counter {counter} is not greater than the last one")


def clear_suspicion(*, vehicle_id: int, owner_id: int) -> bool:
    """Believe the owner that only one car uses the key now; False where he has no such vehicle under suspicion.

    The marks are forgotten with it: should both still be there, they show again after three syncs.
    """
    with transaction.atomic():
        VehiclePresence.objects.filter(vehicle_id=vehicle_id, vehicle__owner_id=owner_id).update(
            boot_marks=[], boot_changed_at=None
        )
        return bool(
            Vehicle.objects.filter(id=vehicle_id, owner_id=owner_id, clone_suspected_at__isnull=False).update(
                clone_suspected_at=None
            )
        )


def set_vehicle_rules(*, public_id: str, rules: Mapping[str, Any] | None) -> bool:
    """Give a vehicle rules that tighten its owner's, or take them away; False where there is no such vehicle.

    Raises VehicleRulesInvalid where they are too large or no rules at all; the text names the key.
    """
    if rules is not None:
        _check_rules(rules)
    return bool(Vehicle.objects.filter(public_id=public_id).update(rules=None if rules is None else dict(rules)))


def _check_rules(rules: Mapping[str, Any]) -> None:
    if len(json.dumps(rules)) > RULES_BYTES_MAX:
        raise VehicleRulesInvalid(f"rules may have at most {RULES_BYTES_MAX} bytes")
    try:
        read_rules(rules)
    except RulesInvalid as error:
        raise VehicleRulesInvalid(str(error)) from None


def _settled_skew(before: float | None, said: float | None) -> float | None:
    if said is None or (before is not None and abs(said - before) < SKEW_STEP_SECONDS):
        return before
    return said
