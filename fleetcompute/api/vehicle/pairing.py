"""Pairing (RFC 8628), the car's half: ask for a code, poll until its owner has approved it; later, renew the key."""

from __future__ import annotations

from typing import Any, ClassVar

import orjson
from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils import timezone

from fleetcompute.api.errors import Malformed, problem_response
from fleetcompute.api.throttles import caller_network, count_call
from fleetcompute.api.vehicle.answers import signed_json
from fleetcompute.api.vehicle.guard import (
    VehicleUnknown,
    authenticate_rotation,
    check_signature,
    read_body,
    vehicle_view,
)
from fleetcompute.api.vehicle.signing import SignatureInvalid, get_director, is_rotation_proved, parse_signature
from fleetcompute.api.vehicle.views import MethodNotAllowed
from workunits.domain.errors import FleetError
from workunits.pipeline import enrol
from workunits.pipeline.identity import rotate_key

PAIRING_BYTES_MAX = 4096
# Whoever asks is not known yet; a house or a depot counts as one address.
PAIRINGS_PER_WINDOW = 60
ROTATIONS_PER_WINDOW = 5
GRANT_TYPE = "urn:ietf:params:oauth:grant-type:device_code"
_OAUTH_ERRORS = frozenset({"authorization_pending", "slow_down", "access_denied", "expired_token"})


class TooManyPairings(FleetError):
    """Too many pairings were started from this address."""

    code: ClassVar[str] = "rate_limited"
    retryable: ClassVar[bool] = True


class TooManyRotations(FleetError):
    """This vehicle renews its key too often."""

    code: ClassVar[str] = "rate_limited"
    retryable: ClassVar[bool] = True


class RotationProofInvalid(FleetError):
    """The new key did not sign for this vehicle and its present key."""

    code: ClassVar[str] = "rotation_proof_invalid"


def _read_json(body: bytes) -> dict[str, Any]:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Malformed(f"the body is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise Malformed("the body is not a JSON object")
    return content


def _text(content: dict[str, Any], name: str, chars_max: int) -> str:
    value = content.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= chars_max or "\0" in value:
        raise Malformed(f"{name} must be text of 1 to {chars_max} characters")
    return value


@vehicle_view
def device(request: HttpRequest) -> HttpResponseBase:
    """Start a pairing for a public key and return the code to show."""
    if request.method != "POST":
        raise MethodNotAllowed("pair/device takes POST")
    calls, left_seconds = count_call(f"pair:{caller_network(request)}")
    if calls > PAIRINGS_PER_WINDOW:
        raise TooManyPairings(f"at most {PAIRINGS_PER_WINDOW} a minute from one address; wait {left_seconds} s")
    content = _read_json(read_body(request, bytes_max=PAIRING_BYTES_MAX))
    public_key = _hex(content, "public_key", 32)
    started = enrol.start_pairing(
        public_key=public_key,
        car_name=_text(content, "name", 120),
        agent=_text(content, "agent", 200),
        now=timezone.now(),
    )
    page = request.build_absolute_uri("/pair")
    return _json(
        {
            "device_code": started.device_code,
            "user_code": started.user_code,
            "match_number": started.match_number,
            "verification_uri": page,
            "verification_uri_complete": f"{page}?code={started.user_code}",
            "expires_in": started.expires_in_seconds,
            "interval": started.interval_seconds,
        }
    )


@vehicle_view
def token(request: HttpRequest) -> HttpResponseBase:
    """Answer a poll: not yet, no, or the vehicle's id and the director's key. Signed with the key being paired."""
    if request.method != "POST":
        raise MethodNotAllowed("pair/token takes POST")
    signature = parse_signature(request.headers)
    body = read_body(request, bytes_max=PAIRING_BYTES_MAX)
    content = _read_json(body)
    if content.get("grant_type") != GRANT_TYPE:
        raise Malformed(f"grant_type must be {GRANT_TYPE}")
    device_code = _text(content, "device_code", 200)
    try:
        public_key = enrol.find_pairing_key(device_code=device_code)
    except enrol.PairingUnknown:
        raise VehicleUnknown("no pairing has this device code") from None
    check_signature(request, signature, public_key, body)
    if not signature.key_id.startswith("key_"):
        raise SignatureInvalid("during pairing keyid is key_ and the key's SHA-256")
    now = timezone.now()
    try:
        vehicle = enrol.poll_pairing(device_code=device_code, now=now)
    except FleetError as error:
        if error.code not in _OAUTH_ERRORS:
            raise
        return problem_response(error, extra={"error": error.code})
    return signed_json(
        {
            "vehicle_id": vehicle.public_id,
            "token_type": "httpsig",
            "access_token": vehicle.public_id,
            "scope": "contribute",
            "director_key": get_director(settings.FLEET_DIRECTOR_KEY).public_key.hex(),
        },
        signature,
        now,
    )


@vehicle_view
def rotate(request: HttpRequest) -> HttpResponseBase:
    """Replace the car's key by one that it made and proves to hold. Signed with the key that is replaced."""
    if request.method != "POST":
        raise MethodNotAllowed("pair/rotate takes POST")
    caller = authenticate_rotation(request, bytes_max=PAIRING_BYTES_MAX)
    vehicle = caller.vehicle
    calls, left_seconds = count_call(f"rotate:{vehicle.vehicle_id}")
    if calls > ROTATIONS_PER_WINDOW:
        raise TooManyRotations(f"at most {ROTATIONS_PER_WINDOW} a minute; wait {left_seconds} s")
    content = _read_json(caller.body)
    new_key, proof = _hex(content, "public_key", 32), _hex(content, "proof", 64)
    if new_key == caller.signed_with or not is_rotation_proved(
        proof, vehicle_id=vehicle.public_id, old_key=caller.signed_with, new_key=new_key
    ):
        raise RotationProofInvalid
    now = timezone.now()
    rotate_key(
        vehicle=vehicle,
        signed_with=caller.signed_with,
        new_key=new_key,
        counter=caller.signature.counter,
        now=now,
    )
    return signed_json({"vehicle_id": vehicle.public_id, "public_key": new_key.hex()}, caller.signature, now)


def _hex(content: dict[str, Any], name: str, size: int) -> bytes:
    try:
        value = bytes.fromhex(_text(content, name, 2 * size))
    except ValueError:
        value = b""
    if len(value) != size:
        raise Malformed(f"{name} must be {2 * size} hex digits")
    return value


def _json(content: dict[str, Any]) -> HttpResponse:
    return HttpResponse(orjson.dumps(content), content_type="application/json", headers={"Cache-Control": "no-store"})
