"""Whether this process lives (`/healthz`), and whether it can serve (`/readyz`: database, cache, blob store)."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final

from django.core.cache import cache
from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache

from workunits.store.blobs import get_blob_store

_ABSENT_BLOB: Final = "0" * 64


@never_cache
def healthz(_request: HttpRequest) -> JsonResponse:
    """Answer; nothing else is looked at, for a process is not restarted because its database is away."""
    return JsonResponse({"status": "ok"})


@never_cache
def readyz(_request: HttpRequest) -> JsonResponse:
    """Try each service once; 503 naming those that do not answer, with no detail for strangers."""
    checks = {"database": _database_answers, "cache": _cache_keeps, "blob_store": _blob_store_answers}
    states = {name: "ok" if _passes(check) else "down" for name, check in checks.items()}
    is_ready = set(states.values()) == {"ok"}
    return JsonResponse({"status": "ok" if is_ready else "down", **states}, status=200 if is_ready else 503)


def _passes(check: Callable[[], bool]) -> bool:
    try:
        return check()
    except Exception:  # noqa: BLE001  (each service fails in its own way, and any failure means the same)
        return False


def _database_answers() -> bool:
    connection.ensure_connection()
    if connection.is_usable():
        return True
    connection.close()  # a persistent connection that broke would fail every later check too
    return False


def _cache_keeps() -> bool:
    value = secrets.token_hex(4)
    cache.set("readyz", value, 10)
    return cache.get("readyz") is not None


def _blob_store_answers() -> bool:
    return not get_blob_store().exists(_ABSENT_BLOB)
