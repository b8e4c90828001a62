"""API keys: how they look, and who calls."""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime
from typing import Final

from workunits.models import ApiKey

KEY_START: Final = "fleet_sk_live_"
PREFIX_CHARS: Final = len(KEY_START) + 10
KEY_CHARS: Final = PREFIX_CHARS + 32
SCOPES: Final = (
    "models:read",
    "models:write",
    "datasets:write",
    "batches:read",
    "batches:write",
    "results:read",
)


def find_api_key(key: str, *, now: datetime) -> ApiKey | None:
    """Return the live key that `key` spells, with its project, else None. The secret is compared in constant time."""
    if len(key) != KEY_CHARS or not key.startswith(KEY_START):
        return None
    found = ApiKey.objects.select_related("project").filter(prefix=key[:PREFIX_CHARS]).first()
    # Compared in any case, so that the answer takes as long whether or not the prefix exists.
    digest = hashlib.sha256(key.encode()).digest()
    kept = bytes(found.secret_sha256) if found else bytes(len(digest))
    if not hmac.compare_digest(digest, kept) or found is None:
        return None
    if found.revoked_at is not None or (found.expires_at is not None and found.expires_at <= now):
        return None
    return found
