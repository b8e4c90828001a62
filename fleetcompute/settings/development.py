"""One machine: the embedded services, plain HTTP on the loopback interface; `make up` and `make demo` use it."""

from __future__ import annotations

from fleetcompute.settings import env
from fleetcompute.settings.base import *

# Off unless asked for: Django's debug mode keeps every SQL statement in memory.
DEBUG = env.flag("FLEET_DEBUG", default=False)
ALLOWED_HOSTS = env.comma_list("FLEET_ALLOWED_HOSTS") or ["localhost", "127.0.0.1", "[::1]"]
