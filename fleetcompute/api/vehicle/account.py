"""`GET account`: what a car's work has earned today, an estimate for its owner's screen."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone

from fleetcompute.api.errors import Malformed
from fleetcompute.api.throttles import count_call
from fleetcompute.api.vehicle.answers import signed_json
from fleetcompute.api.vehicle.guard import authenticate, vehicle_view
from fleetcompute.api.vehicle.views import MethodNotAllowed
from workunits.domain.errors import FleetError
from workunits.selectors.earnings import get_gross

# An honest car asks every quarter of an hour.
CALLS_PER_WINDOW = 10
# A car's own day began at most a day ago, and its clock may be wrong.
SINCE_SECONDS_MAX = 2 * 86_400
_SINCE = re.compile(r"[0-9]{1,11}")


class TooManyQuestions(FleetError):
    """This vehicle asks too often."""

    code: ClassVar[str] = "rate_limited"
    retryable: ClassVar[bool] = True


@vehicle_view
def account(request: HttpRequest) -> HttpResponseBase:
    """Answer with the sum of this vehicle's accepted results since the start of the car's day, or of the UTC day."""
    if request.method != "GET":
        raise MethodNotAllowed("account takes GET")
    caller = authenticate(request, bytes_max=0)
    calls, left_seconds = count_call(f"account:{caller.vehicle.vehicle_id}")
    if calls > CALLS_PER_WINDOW:
        raise TooManyQuestions(f"at most {CALLS_PER_WINDOW} a minute; wait {left_seconds} s")
    now = timezone.now()
    since = _since(request, now)
    content = {
        "vehicle": caller.vehicle.public_id,
        "since": int(since.timestamp()),
        "gross_today_microcredits": get_gross(vehicle_id=caller.vehicle.vehicle_id, since=since),
        "currency": settings.FLEET_CURRENCY or None,
        "microcredits_per_currency_unit": settings.FLEET_MICROCREDITS_PER_CURRENCY_UNIT
        if settings.FLEET_CURRENCY
        else None,
    }
    return signed_json(content, caller.signature, now)


def _since(request: HttpRequest, now: datetime) -> datetime:
    stated = request.GET.get("since")
    if stated is None:
        return now.replace(hour=0, minute=0, second=0, microsecond=0)
    since = datetime.fromtimestamp(int(stated), UTC) if _SINCE.fullmatch(stated) else None
    if since is None or not timedelta() <= now - since <= timedelta(seconds=SINCE_SECONDS_MAX):
        raise Malformed("since must be Unix seconds within the last two days")
    return since
