"""Errors as people and programs meet them: RFC 9457 problem documents, from one table of codes.

An error class of the engine carries a code and a sentence; here the code gets its HTTP status, and a page that
explains it (`/problems/{code}`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import orjson
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.http import Http404, HttpResponse
from rest_framework import exceptions
from rest_framework.response import Response

from fleetcompute.api.problems import problem_of
from workunits.domain.errors import FleetError

PROBLEM_TYPE = "application/problem+json"


class Malformed(FleetError):
    """The request cannot be read."""

    code: ClassVar[str] = "malformed_request"


class BodyTooLarge(FleetError):
    """The body is over this address's limit."""

    code: ClassVar[str] = "body_too_large"


def problem_document(
    code: str,
    *,
    detail: str,
    status: int | None = None,
    retryable: bool = False,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the members of a problem document, with status and title from the table of codes."""
    known = problem_of(code)
    return {
        "type": f"/problems/{code}",
        "title": known.title,
        "status": status or known.status,
        "detail": detail or known.title,
        "code": code,
        "retryable": retryable or known.retryable,
        **{name: value for name, value in (extra or {}).items() if value is not None},
    }


def problem_response(
    error: FleetError, *, status: int | None = None, extra: Mapping[str, Any] | None = None
) -> HttpResponse:
    """Return the problem document of an engine error, for views that are plain Django."""
    document = problem_document(
        error.code,
        detail=error.detail,
        status=status,
        retryable=error.retryable,
        extra={**error.context, **(extra or {})},
    )
    return HttpResponse(
        orjson.dumps(document, default=str),
        status=document["status"],
        content_type=PROBLEM_TYPE,
        headers={"Cache-Control": "no-store"},
    )


_FRAMEWORK_CODES: dict[type[Exception], str] = {
    exceptions.ParseError: "malformed_request",
    exceptions.ValidationError: "invalid_request",
    exceptions.NotAuthenticated: "api_key_missing",
    exceptions.AuthenticationFailed: "api_key_invalid",
    exceptions.PermissionDenied: "scope_missing",
    exceptions.NotFound: "not_found",
    exceptions.MethodNotAllowed: "method_not_allowed",
    exceptions.NotAcceptable: "not_acceptable",
    exceptions.UnsupportedMediaType: "unsupported_media_type",
    exceptions.Throttled: "rate_limited",
    Http404: "not_found",
    PermissionDenied: "scope_missing",
    RequestDataTooBig: "body_too_large",
}


def problem_handler(error: Exception, _context: Mapping[str, Any]) -> Response | None:
    """Turn what a DRF view raised into a problem document; None leaves a surprise to Django's own handling."""
    headers: dict[str, str] = {}
    if isinstance(error, FleetError):
        document = problem_document(error.code, detail=error.detail, retryable=error.retryable, extra=error.context)
    else:
        code = next((code for kind, code in _FRAMEWORK_CODES.items() if isinstance(error, kind)), None)
        if code is None:
            return None
        document = problem_document(code, detail=_sentence(error), retryable=code == "rate_limited")
        if isinstance(error, exceptions.ValidationError):
            document["errors"] = list(_field_errors(error.detail))
            document["detail"] = "; ".join(f"{item['pointer']}: {item['detail']}" for item in document["errors"])
        wait_seconds = getattr(error, "wait", None)  # of Throttled; its stubs do not know it
        if wait_seconds is not None:
            headers["Retry-After"] = str(int(wait_seconds) + 1)
        if isinstance(error, exceptions.NotAuthenticated | exceptions.AuthenticationFailed):
            headers["WWW-Authenticate"] = "Bearer"
    return Response(document, status=document["status"], headers=headers, content_type=PROBLEM_TYPE)


def _sentence(error: Exception) -> str:
    detail = getattr(error, "detail", None)
    return str(detail) if detail is not None else str(error)


def _field_errors(detail: Any, pointer: str = "") -> Any:
    """Yield `{"pointer", "detail"}` for each message in DRF's nested error structure."""
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            yield from _field_errors(inner, f"{pointer}/{name}" if name != "non_field_errors" else pointer)
    elif isinstance(detail, list) and any(isinstance(inner, Mapping | list) for inner in detail):
        for index, inner in enumerate(detail):
            yield from _field_errors(inner, f"{pointer}/{index}")
    elif isinstance(detail, list):
        for inner in detail:
            yield {"pointer": pointer or "/", "detail": str(inner)}
    else:
        yield {"pointer": pointer or "/", "detail": str(detail)}
