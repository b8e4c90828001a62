"""Enrol: how a car becomes a vehicle of an owner, by the device authorization grant (RFC 8628), and how it leaves.

The car makes its key and shows a short code and a two-digit number; its owner enters the code in the portal and picks
the number among three; the car, proving that it holds the key, learns its id. The key never leaves the car; the code
grants nothing but contributing work. Whoever approves has to know what the car's screen shows, and a wrong pick ends
the pairing, so that nobody approves by habit a code that a stranger has sent.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

from django.conf import settings
from django.db import IntegrityError, transaction

from workunits.domain.errors import FleetError
from workunits.models import DevicePairing, Vehicle, VehiclePresence

USER_CODE_ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"  # no vowels, so no words; no look-alikes
PAIRING_LIFETIME = timedelta(minutes=10)
MATCH_NUMBERS = range(10, 100)
MATCH_CHOICES = 3


class PairingUnknown(FleetError):
    """There is no pairing with this code."""

    code: ClassVar[str] = "pairing_unknown"


class PairingExpired(FleetError):
    """The code is older than ten minutes; let the car show a new one."""

    code: ClassVar[str] = "expired_token"


class AuthorizationPending(FleetError):
    """The owner has not answered yet."""

    code: ClassVar[str] = "authorization_pending"
    retryable: ClassVar[bool] = True


class SlowDown(FleetError):
    """Asked again too soon; the interval is five seconds longer now."""

    code: ClassVar[str] = "slow_down"
    retryable: ClassVar[bool] = True


class AccessDenied(FleetError):
    """The owner refused."""

    code: ClassVar[str] = "access_denied"


class MatchNumberWrong(FleetError):
    """That is not the number on the car's screen, so the car was refused; let it show a new code."""

    code: ClassVar[str] = "match_number_wrong"


class KeyAlreadyPaired(FleetError):
    """This key belongs to a vehicle already."""

    code: ClassVar[str] = "key_already_paired"


@dataclass(frozen=True, kw_only=True, slots=True)
class StartedPairing:
    """What the car is told: the secret it polls with, the code and the number it shows, and how often to ask."""

    device_code: str
    user_code: str
    match_number: int
    expires_in_seconds: int
    interval_seconds: int


def start_pairing(*, public_key: bytes, car_name: str, agent: str, now: datetime) -> StartedPairing:
    """Begin a pairing for a car's public key (32 bytes). Raises KeyAlreadyPaired."""
    if Vehicle.objects.filter(public_key=public_key).exists():
        raise KeyAlreadyPaired
    device_code = secrets.token_urlsafe(32)
    interval = settings.FLEET.pairing_interval_seconds
    choices = secrets.SystemRandom().sample(MATCH_NUMBERS, MATCH_CHOICES)
    match_number = secrets.choice(choices)
    for _ in range(5):
        letters = "".join(secrets.choice(USER_CODE_ALPHABET) for _ in range(8))
        user_code = f"{letters[:4]}-{letters[4:]}"
        try:
            with transaction.atomic():
                DevicePairing.objects.create(
                    device_code_sha256=_digest(device_code),
                    user_code=user_code,
                    public_key=public_key,
                    car_name=car_name,
                    agent=agent,
                    created_at=now,
                    expires_at=now + PAIRING_LIFETIME,
                    interval_seconds=interval,
                    match_number=match_number,
                    match_choices=choices,
                )
        except IntegrityError:
            continue  # the code is in use by another pending pairing
        return StartedPairing(
            device_code=device_code,
            user_code=user_code,
            match_number=match_number,
            expires_in_seconds=int(PAIRING_LIFETIME.total_seconds()),
            interval_seconds=interval,
        )
    raise FleetError("no free pairing code was found")


def find_pairing_key(*, device_code: str) -> bytes:
    """Return the public key that a device code was made for, to check the poll's signature. Raises PairingUnknown."""
    key = (
        DevicePairing.objects.filter(device_code_sha256=_digest(device_code))
        .values_list("public_key", flat=True)
        .first()
    )
    if key is None:
        raise PairingUnknown
    return bytes(key)


def poll_pairing(*, device_code: str, now: datetime) -> Vehicle:
    """Return the vehicle that the pairing made, once its owner has approved.

    Raises:
        AuthorizationPending, SlowDown: ask again. AccessDenied, PairingExpired, PairingUnknown: it is over.
    """
    pairing = DevicePairing.objects.select_related("vehicle").filter(device_code_sha256=_digest(device_code)).first()
    if pairing is None:
        raise PairingUnknown
    if pairing.vehicle is not None:
        return pairing.vehicle
    if pairing.state == DevicePairing.State.DENIED:
        raise AccessDenied
    if pairing.expires_at <= now:
        raise PairingExpired
    too_soon = pairing.last_polled_at is not None and now < pairing.last_polled_at + timedelta(
        seconds=pairing.interval_seconds * 0.9  # a network may bring two polls closer together than they were sent
    )
    DevicePairing.objects.filter(id=pairing.id).update(
        last_polled_at=now, interval_seconds=pairing.interval_seconds + (5 if too_soon else 0)
    )
    raise SlowDown if too_soon else AuthorizationPending


def find_pairing(*, user_code: str, now: datetime) -> DevicePairing:
    """Return the pending pairing with this code, however it was typed. Raises PairingUnknown, PairingExpired."""
    letters = "".join(letter for letter in user_code.upper() if letter.isalpha())
    pairing = (
        DevicePairing.objects.filter(user_code=f"{letters[:4]}-{letters[4:]}", state=DevicePairing.State.PENDING)
        .order_by("-id")
        .first()
    )
    if pairing is None:
        raise PairingUnknown(f"no car is showing the code {user_code.strip()[:20]!r} now")
    if pairing.expires_at <= now:
        raise PairingExpired
    return pairing


def approve_pairing(*, user_code: str, match_number: int, owner_id: int, now: datetime) -> Vehicle:
    """Make the car that shows this code and this number a vehicle of the owner.

    Raises:
        MatchNumberWrong: the car was refused, and its code is of no use any more.
        PairingUnknown, PairingExpired, KeyAlreadyPaired: nothing changed.
    """
    with transaction.atomic():
        pairing = _lock(find_pairing(user_code=user_code, now=now))
        if pairing.match_number == match_number:
            return _make_vehicle(pairing, owner_id=owner_id, now=now)
        pairing.state = DevicePairing.State.DENIED
        pairing.save(update_fields=["state"])
    raise MatchNumberWrong


def _make_vehicle(pairing: DevicePairing, *, owner_id: int, now: datetime) -> Vehicle:
    if Vehicle.objects.filter(public_key=pairing.public_key).exists():
        raise KeyAlreadyPaired
    try:
        with transaction.atomic():
            vehicle = Vehicle.objects.create(
                owner_id=owner_id, name=pairing.car_name, public_key=pairing.public_key, paired_at=now
            )
    except IntegrityError:
        raise KeyAlreadyPaired from None  # by another code of the same car, in the same moment
    VehiclePresence.objects.create(vehicle=vehicle)
    pairing.state = DevicePairing.State.APPROVED
    pairing.vehicle = vehicle
    pairing.save(update_fields=["state", "vehicle"])
    return vehicle


def deny_pairing(*, user_code: str, now: datetime) -> None:
    """Refuse the car that shows this code. Raises PairingUnknown, PairingExpired."""
    with transaction.atomic():
        pairing = _lock(find_pairing(user_code=user_code, now=now))
        pairing.state = DevicePairing.State.DENIED
        pairing.save(update_fields=["state"])


def revoke_vehicle(*, vehicle_id: int, owner_id: int, now: datetime) -> bool:
    """End a vehicle of this owner for good; False where he has no such active vehicle. Its leases run out."""
    return bool(
        Vehicle.objects.filter(id=vehicle_id, owner_id=owner_id, status=Vehicle.Status.ACTIVE).update(
            status=Vehicle.Status.REVOKED, revoked_at=now
        )
    )


def _lock(pairing: DevicePairing) -> DevicePairing:
    locked = DevicePairing.objects.select_for_update().filter(id=pairing.id, state=DevicePairing.State.PENDING).first()
    if locked is None:
        raise PairingUnknown("this code has just been answered")
    return locked


def _digest(device_code: str) -> bytes:
    return hashlib.sha256(device_code.encode("utf-8")).digest()
