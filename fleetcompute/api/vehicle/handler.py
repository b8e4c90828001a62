"""The way of a car's request through Django: straight to its view.

Cars know no sessions, cookies, languages, forms or pages, so none of the middleware that serves people runs for them;
it would cost a fifth of a sync's time.
"""

from __future__ import annotations

from typing import Any

from django.core.handlers.exception import convert_exception_to_response
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

VEHICLE_PATH = "/api/vehicle/"


class VehicleHandler(WSGIHandler):
    """A WSGI application that resolves the address, calls the view and turns what it raises into an answer."""

    def load_middleware(self, is_async: bool = False) -> None:  # noqa: FBT001, FBT002 - Django's signature
        """Load none."""
        self._view_middleware: list[Any] = []
        self._template_response_middleware: list[Any] = []
        self._exception_middleware: list[Any] = []
        self._middleware_chain = convert_exception_to_response(self._get_response)  # type: ignore[attr-defined]

    def get_response(self, request: HttpRequest) -> HttpResponseBase:
        """Return the view's answer with its length, so that the connection can be kept."""
        response = super().get_response(request)
        if isinstance(response, HttpResponse):
            response.headers.setdefault("Content-Length", str(len(response.content)))
        return response
