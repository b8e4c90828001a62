"""What Django itself answers when no view did (a problem document below `/api/`, else a page), and the codes' pages."""

from __future__ import annotations

import orjson
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from fleetcompute.api.errors import PROBLEM_TYPE, problem_document
from fleetcompute.api.problems import PROBLEMS, problem_of


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001  (Django passes it)
    """Answer a request that Django refused to read."""
    return _answer(request, "malformed_request")


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001  (Django passes it)
    """Answer somebody who may not see this."""
    return _answer(request, "scope_missing" if _is_api(request) else "page_forbidden")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001  (Django passes it)
    """Answer an address that nothing has."""
    return _answer(request, "not_found")


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer an error that nobody foresaw."""
    return _answer(request, "internal_error")


def problem_page(request: HttpRequest, code: str) -> HttpResponse:
    """Explain a code: what the `type` of every problem document points to."""
    if code not in PROBLEMS:
        raise Http404
    return render(request, "problem.html", {"code": code, "problem": PROBLEMS[code]})


def problem_index(request: HttpRequest) -> HttpResponse:
    """List every code."""
    return render(request, "problems.html", {"problems": sorted(PROBLEMS.items())})


def _is_api(request: HttpRequest) -> bool:
    return request.path.startswith("/api/")


def _answer(request: HttpRequest, code: str) -> HttpResponse:
    problem = problem_of(code)
    if _is_api(request):
        document = problem_document(code, detail=problem.explanation)
        return HttpResponse(orjson.dumps(document), status=problem.status, content_type=PROBLEM_TYPE)
    return render(request, "error.html", {"problem": problem}, status=problem.status)
