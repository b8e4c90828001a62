"""Cars go through Django without the middleware that serves people."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from fleetcompute.wsgi import application

# A request begins by looking after the database connections of its thread.
pytestmark = pytest.mark.django_db


def get(path: str) -> tuple[str, dict[str, str], bytes]:
    started: dict[str, Any] = {}

    def start_response(status: str, headers: list[tuple[str, str]], *_: object) -> None:
        started.update(status=status, headers=dict(headers))

    environ = {
        "REQUEST_METHOD": "GET", "PATH_INFO": path, "SERVER_NAME": "localhost", "SERVER_PORT": "80",
        "wsgi.input": io.BytesIO(), "wsgi.url_scheme": "http", "wsgi.errors": io.StringIO(),
    }  # fmt: skip
    body = b"".join(application(environ, start_response))
    return started["status"], started["headers"], body


def test_a_car_is_answered_without_cookies_or_languages_and_with_a_length():
    status, headers, body = get("/api/vehicle/v1/sync")
    assert status.startswith("405")
    assert json.loads(body)["code"] == "method_not_allowed"
    assert headers["Content-Length"] == str(len(body))
    assert not {"Set-Cookie", "Vary", "Content-Language"} & set(headers)


def test_an_unknown_address_of_the_wire_is_not_found():
    status, _, _ = get("/api/vehicle/v1/nothing")
    assert status.startswith("404")


def test_people_get_the_headers_that_guard_pages():
    status, headers, _ = get("/healthz")
    assert status.startswith("200")
    assert headers["X-Content-Type-Options"] == "nosniff"
