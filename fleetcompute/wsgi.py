"""The WSGI application that any WSGI server serves: one way through Django for cars, another for people."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fleetcompute.settings.development")

_for_people = get_wsgi_application()

from fleetcompute.api.vehicle.handler import VEHICLE_PATH, VehicleHandler  # noqa: E402 - Django must be set up first

_for_cars = VehicleHandler()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer a request."""
    chosen = _for_cars if environ["PATH_INFO"].startswith(VEHICLE_PATH) else _for_people
    return chosen(environ, start_response)
