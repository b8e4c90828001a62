"""How often somebody may call: a fixed window in the cache, announced by the RateLimit headers of the IETF draft.

While the cache does not answer nobody is counted: an outage of the broker must not become one of the API.
"""

from __future__ import annotations

import ipaddress
import logging
import time
from typing import Any, Final, cast

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest
from redis.exceptions import RedisError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

log = logging.getLogger(__name__)

REQUESTS_PER_WINDOW: Final = 1200
WINDOW_SECONDS: Final = 60


def count_call(subject: str) -> tuple[int, int]:
    """Count a call of `subject` in the current window; return its calls so far and the seconds left of the window."""
    now = time.time()
    window = int(now // WINDOW_SECONDS)
    name = f"rate:{subject}:{window}"
    count = 1
    try:
        # add() and incr() are two steps: a key that lapses between them only starts the window again.
        if not cache.add(name, 1, WINDOW_SECONDS * 2):
            try:
                count = cache.incr(name)
            except ValueError:
                cache.set(name, 1, WINDOW_SECONDS * 2)
    except (RedisError, OSError) as problem:
        log.warning("calls are not counted, the cache does not answer: %s", problem)
    return count, max(1, int((window + 1) * WINDOW_SECONDS - now))


def caller_network(request: HttpRequest) -> str:
    """Return whose calls are counted together where nobody has said who he is: an IPv4 address, an IPv6 /64.

    A household has a whole /64, so its single addresses would never reach a limit.
    """
    header = settings.FLEET_CLIENT_ADDRESS_HEADER
    stated = request.headers.get(header, "") if header else request.META.get("REMOTE_ADDR", "")
    try:
        address = ipaddress.ip_address(stated)
    except ValueError:
        return ""  # a Unix socket has none, and a proxy that forgets the header has one limit for all
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(address.ipv4_mapped or ipaddress.ip_network((int(address), 64), strict=False))


class KeyThrottle(BaseThrottle):
    """Counts the calls of one key in the current minute."""

    def __init__(self) -> None:
        self._left_seconds = WINDOW_SECONDS

    def allow_request(self, request: Request, view: APIView) -> bool:
        """Count this call; return whether it is within the limit."""
        count, self._left_seconds = count_call(str(cast(Any, request.user).pk))
        cast(Any, request).rate_left = (max(0, REQUESTS_PER_WINDOW - count), self._left_seconds)
        return count <= REQUESTS_PER_WINDOW

    def wait(self) -> float:
        """Return the seconds until the window ends."""
        return float(self._left_seconds)


def add_rate_headers(request: Request, response: Response) -> None:
    """Announce what is left of the window, if this request was counted."""
    left = getattr(request, "rate_left", None)
    if left is not None:
        response["RateLimit-Policy"] = f'"default";q={REQUESTS_PER_WINDOW};w={WINDOW_SECONDS}'
        response["RateLimit"] = f'"default";r={left[0]};t={left[1]}'
