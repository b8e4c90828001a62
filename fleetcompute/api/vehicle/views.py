"""The vehicle's addresses: sync, uploads and blobs. Each parses, makes one call into the engine, and answers."""

from __future__ import annotations

import base64
import binascii
import hashlib
import random
import re
from dataclasses import replace
from typing import ClassVar

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils import timezone

from fleetcompute.api.errors import Malformed, problem_response
from fleetcompute.api.ranges import serve_blob
from fleetcompute.api.throttles import caller_network
from fleetcompute.api.vehicle import frames
from fleetcompute.api.vehicle.answers import signed_answer
from fleetcompute.api.vehicle.guard import authenticate, vehicle_view
from fleetcompute.api.vehicle.messages import list_messages, read_self, read_sync, write_answer
from workunits.domain.errors import FleetError
from workunits.domain.pacing import next_sync_seconds
from workunits.pipeline.clusters import note_network
from workunits.pipeline.dispatch import sync_vehicle
from workunits.pipeline.identity import recognise, remember
from workunits.pipeline.upload import PART_BYTES_MAX, accept_part, get_upload
from workunits.selectors.leased_blobs import is_blob_leased
from workunits.tasks import nudge_validation

SYNC_BYTES_MAX = 16 * 1024 * 1024
TUS_VERSION = "1.0.0"
_OFFSET = re.compile(r"[0-9]{1,15}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class BlobNotLeased(FleetError):
    """No live lease of this vehicle names this blob."""

    code: ClassVar[str] = "blob_not_leased"


class MethodNotAllowed(FleetError):
    """This address does not take that method."""

    code: ClassVar[str] = "method_not_allowed"


class ChecksumMismatch(FleetError):
    """The part does not have the stated checksum."""

    code: ClassVar[str] = "output_digest_mismatch"


@vehicle_view
def sync(request: HttpRequest) -> HttpResponseBase:
    """Take a car's report and answer with what it is to do next."""
    if request.method != "POST":
        raise MethodNotAllowed("sync takes POST")
    caller = authenticate(request, bytes_max=SYNC_BYTES_MAX)
    content, attachments = frames.read_frame(caller.body)
    asked = read_sync(content, attachments, counter=caller.signature.counter)
    said = read_self(content)
    now = timezone.now()
    recognition = recognise(caller.vehicle, said, now)
    vehicle = replace(caller.vehicle, may_lease=not recognition.is_suspected)
    answer = sync_vehicle(vehicle=vehicle, request=asked, now=now)
    remember(vehicle, recognition)
    note_network(vehicle.owner_id, caller_network(request), now)
    if answer.to_review:
        nudge_validation()
    policy = settings.FLEET
    answer.next_sync_seconds = next_sync_seconds(
        is_busy=bool(answer.leases or asked.held),
        working_seconds=policy.sync_seconds_working,
        idle_seconds=policy.sync_seconds_idle,
        jitter_ratio=policy.sync_jitter_ratio,
        draw=random.random(),  # noqa: S311 - spreads load, guards nothing
    )
    messages = list_messages(vehicle.standing, is_suspected=recognition.is_suspected)
    body = frames.write_frame(
        write_answer(answer, now=now, vehicle=vehicle.public_id, rules=vehicle.rules, messages=messages)
    )
    return signed_answer(body, frames.CONTENT_TYPE, caller.signature, now)


@vehicle_view
def output(request: HttpRequest, token: str) -> HttpResponseBase:
    """Take an output in parts, by tus 1.0."""
    if request.method not in ("HEAD", "PATCH"):
        raise MethodNotAllowed("outputs take HEAD and PATCH")
    caller = authenticate(request, bytes_max=PART_BYTES_MAX)
    headers = {"Tus-Resumable": TUS_VERSION, "Cache-Control": "no-store"}
    if request.method == "HEAD":
        offset, length = get_upload(vehicle=caller.vehicle, token=token)
        return HttpResponse(status=200, headers={**headers, "Upload-Offset": str(offset), "Upload-Length": str(length)})
    stated = request.headers.get("Upload-Offset", "")
    if not _OFFSET.fullmatch(stated) or request.content_type != "application/offset+octet-stream":
        raise Malformed("a PATCH needs Upload-Offset and Content-Type application/offset+octet-stream")
    if not _has_checksum(request.headers.get("Upload-Checksum"), caller.body):
        return problem_response(ChecksumMismatch(), status=460)
    offset = accept_part(vehicle=caller.vehicle, token=token, offset=int(stated), data=caller.body, now=timezone.now())
    nudge_validation()
    return HttpResponse(status=204, headers={**headers, "Upload-Offset": str(offset)})


def _has_checksum(stated: str | None, data: bytes) -> bool:
    if stated is None:
        return True
    algorithm, _, encoded = stated.partition(" ")
    try:
        return algorithm == "sha256" and base64.b64decode(encoded, validate=True) == hashlib.sha256(data).digest()
    except binascii.Error:
        return False


@vehicle_view
def blob(request: HttpRequest, sha256: str) -> HttpResponseBase:
    """Send a model or a range of a shard to a car that holds a lease naming it."""
    if request.method not in ("GET", "HEAD"):
        raise MethodNotAllowed("blobs take GET and HEAD")
    caller = authenticate(request, bytes_max=0)
    if not _SHA256.fullmatch(sha256) or not is_blob_leased(vehicle=caller.vehicle, sha256=sha256):
        raise BlobNotLeased
    return serve_blob(request, sha256, content_type="application/octet-stream")
