"""Who calls: a project, by an API key with scopes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, cast

from django.db.models import Q
from django.utils import timezone
from rest_framework import exceptions
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from workunits.models import ApiKey
from workunits.selectors.keys import find_api_key

_LAST_USED_STEP: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Caller:
    """The one who calls, in the place of a user: a key stands for its project, not for a person."""

    key: ApiKey
    is_authenticated: bool = True

    @property
    def pk(self) -> int:
        """The key's id; throttles count by it."""
        return self.key.pk


class ApiKeyAuthentication(BaseAuthentication):
    """Reads `Authorization: Bearer fleet_sk_live_…`."""

    def authenticate(self, request: Request) -> tuple[Caller, ApiKey] | None:
        """Return the caller, None without the header; raises AuthenticationFailed for a key that is not valid."""
        scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
        if not scheme:
            return None
        if scheme.lower() != "bearer":
            raise exceptions.AuthenticationFailed("The Authorization header must be: Bearer, a blank, the API key.")
        now = timezone.now()
        key = find_api_key(secret.strip(), now=now)
        if key is None:
            raise exceptions.AuthenticationFailed("The API key is unknown, revoked or expired.")
        _note_use(key, now)
        return Caller(key), key

    def authenticate_header(self, request: Request) -> str:
        """Return the challenge that makes a missing key a 401 rather than a 403."""
        return 'Bearer realm="fleetcompute"'


class HasScope(BasePermission):
    """Lets a key through that has the scope which the view names for the method, in `scopes`."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Return whether the caller has the scope; raises PermissionDenied that names it."""
        caller = cast(Any, request.user)
        if not isinstance(caller, Caller):
            return False
        method = "GET" if request.method == "HEAD" else request.method
        scope = cast(Any, view).scopes.get(method)
        if scope is not None and scope not in caller.key.scopes:
            raise exceptions.PermissionDenied(f"This API key lacks the scope {scope}.")
        return True


def _note_use(key: ApiKey, now: datetime) -> None:
    """Note that the key was used, at most once a minute: a write for each request would cost more than the request."""
    if key.last_used_at is None or key.last_used_at < now - _LAST_USED_STEP:
        stale = Q(last_used_at__isnull=True) | Q(last_used_at__lt=now - _LAST_USED_STEP)
        ApiKey.objects.filter(stale, pk=key.pk).update(last_used_at=now)
