"""Idempotency-Key: the same key and body again gives the same answer; the same key with another body is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final, NamedTuple

import orjson
from django.db import transaction
from rest_framework.request import Request

from fleetcompute.api.errors import Malformed
from fleetcompute.api.models import IdempotentAnswer
from workunits.domain.errors import FleetError

KEY_LIFETIME: Final = timedelta(hours=24)
KEY_CHARS_MAX: Final = 255


class IdempotencyKeyReused(FleetError):
    """The idempotency key was used for another request."""

    code: ClassVar[str] = "idempotency_key_reused"


class Answer(NamedTuple):
    """An answer, given now or again."""

    status: int
    body: dict[str, Any]
    is_replay: bool = False


def read_key(request: Request) -> str | None:
    """Return the request's Idempotency-Key, None without one. Raises Malformed."""
    key = request.headers.get("Idempotency-Key")
    if key is not None and not 1 <= len(key) <= KEY_CHARS_MAX:
        raise Malformed(f"Idempotency-Key must have 1 to {KEY_CHARS_MAX} characters.")
    return key


def answer_once(
    *, project_id: int, key: str | None, request_body: object, now: datetime, create: Callable[[], Answer]
) -> Answer:
    """Call `create` unless this key has been answered already; its work and the memory of it commit together.

    A second request under the same key waits on the unique index until the first has committed or failed.
    Raises IdempotencyKeyReused when the body differs.
    """
    with transaction.atomic():
        if key is None:
            return create()
        stale = now - KEY_LIFETIME
        IdempotentAnswer.objects.filter(project_id=project_id, key=key, created_at__lt=stale).delete()
        fingerprint = hashlib.sha256(orjson.dumps(request_body, option=orjson.OPT_SORT_KEYS)).digest()
        kept, is_first = IdempotentAnswer.objects.get_or_create(
            project_id=project_id, key=key, defaults={"fingerprint": fingerprint, "created_at": now}
        )
        if not is_first:
            if bytes(kept.fingerprint) != fingerprint:
                raise IdempotencyKeyReused
            return Answer(kept.status, kept.body, is_replay=True)
        answer = create()
        # Through orjson, so that a replay is what the caller was sent, datetimes and all.
        body = orjson.loads(orjson.dumps(answer.body, option=orjson.OPT_UTC_Z))
        IdempotentAnswer.objects.filter(pk=kept.pk).update(status=answer.status, body=body)
        return answer
