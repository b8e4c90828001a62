"""Answers that the director signs, each bound to the request that it answers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson
from django.conf import settings
from django.http import HttpResponse

from fleetcompute.api.vehicle.signing import RequestSignature, get_director


def signed_answer(body: bytes, content_type: str, request: RequestSignature, now: datetime) -> HttpResponse:
    """Return an answer of status 200 with the director's signature."""
    signed = get_director(settings.FLEET_DIRECTOR_KEY).sign(
        status=200, body=body, request=request, now_seconds=int(now.timestamp())
    )
    return HttpResponse(body, content_type=content_type, headers=signed)


def signed_json(content: dict[str, Any], request: RequestSignature, now: datetime) -> HttpResponse:
    """Return a signed JSON answer that nobody may keep."""
    response = signed_answer(orjson.dumps(content), "application/json", request, now)
    response.headers["Cache-Control"] = "no-store"
    return response
