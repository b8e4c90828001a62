"""Who is calling: reads a request's body within its limit, finds the vehicle, checks the signature; or the problem."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, ClassVar

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponseBase
from django.views.decorators.csrf import csrf_exempt

from fleetcompute.api.errors import BodyTooLarge, Malformed, problem_response
from fleetcompute.api.vehicle.signing import RequestSignature, SignatureInvalid, parse_signature, verify_request
from workunits.domain.errors import FleetError
from workunits.store.vehicles import KnownVehicle, find_vehicle


class VehicleUnknown(FleetError):
    """No vehicle has this id or key."""

    code: ClassVar[str] = "vehicle_unknown"


class VehicleRevoked(FleetError):
    """This vehicle was removed by its owner or an operator."""

    code: ClassVar[str] = "vehicle_revoked"


@dataclass(frozen=True, kw_only=True, slots=True)
class SignedRequest:
    """A request whose signature has been verified, the vehicle that made it, and the key that it used."""

    vehicle: KnownVehicle
    signature: RequestSignature
    body: bytes
    signed_with: bytes


def read_body(request: HttpRequest, *, bytes_max: int) -> bytes:
    """Return the body. Raises BodyTooLarge before reading more than the limit, Malformed without a length."""
    try:
        length = int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        raise Malformed("Content-Length is not a number") from None
    if length < 0:
        raise Malformed("Content-Length is negative")
    if length > bytes_max:
        raise BodyTooLarge(f"the body has {length} bytes; at most {bytes_max} are taken here")
    body = request.read(length) if length else b""
    if len(body) != length:
        raise Malformed(f"the body has {len(body)} bytes, Content-Length says {length}")
    return body


def check_signature(request: HttpRequest, signature: RequestSignature, public_key: bytes, body: bytes) -> None:
    """Verify the signature with a key. Raises what `verify_request` raises.

    What was signed for another server is refused too: one that the car trusts as well could pass it on to us.
    """
    try:
        request.get_host()
    except DisallowedHost:
        raise SignatureInvalid("the request is not for this server; see FLEET_ALLOWED_HOSTS") from None
    verify_request(
        signature,
        public_key=public_key,
        method=request.method or "",
        authority=request.META.get("HTTP_HOST", ""),
        path=request.path,
        query=request.META.get("QUERY_STRING", ""),
        digest_header=request.headers["Content-Digest"],
        body=body,
        now_seconds=time.time(),
    )


def authenticate(request: HttpRequest, *, bytes_max: int) -> SignedRequest:
    """Return the verified request of a paired, active vehicle. Raises a FleetError that names what is wrong."""
    signature = parse_signature(request.headers)
    body = read_body(request, bytes_max=bytes_max)
    vehicle = find_vehicle(signature.key_id)
    if vehicle is None:
        raise VehicleUnknown
    check_signature(request, signature, vehicle.public_key, body)
    return _active(SignedRequest(vehicle=vehicle, signature=signature, body=body, signed_with=vehicle.public_key))


def authenticate_rotation(request: HttpRequest, *, bytes_max: int) -> SignedRequest:
    """Do as `authenticate`, and take the key before the last rotation as well.

    For a car whose answer to a rotation was lost: it cannot know that its old key is of no other use any more.
    """
    signature = parse_signature(request.headers)
    body = read_body(request, bytes_max=bytes_max)
    vehicle = find_vehicle(signature.key_id)
    if vehicle is None:
        raise VehicleUnknown
    key = vehicle.public_key
    try:
        check_signature(request, signature, key, body)
    except SignatureInvalid:
        if vehicle.previous_public_key is None:
            raise
        key = vehicle.previous_public_key
        check_signature(request, signature, key, body)
    return _active(SignedRequest(vehicle=vehicle, signature=signature, body=body, signed_with=key))


def _active(caller: SignedRequest) -> SignedRequest:
    if not caller.vehicle.is_active:
        raise VehicleRevoked
    return caller


def vehicle_view(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Exempt a view from CSRF (it knows no cookies) and answer a FleetError as a problem document."""

    @csrf_exempt
    @wraps(view)
    def answered(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return view(request, *args, **kwargs)
        except FleetError as error:
            return problem_response(error)

    return answered
