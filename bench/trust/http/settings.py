"""The server's settings in a run on virtual time: known keys, tasks run in the caller, hours where cars call rarely."""

from __future__ import annotations

import dataclasses

from fleetcompute.settings.base import *  # noqa: F403 - settings of settings
from fleetcompute.settings.base import FLEET as POLICY

SECRET_KEY = "only-for-benchmarks-" + "0" * 40
FLEET_TOKEN_KEY = bytes(range(16))
FLEET_DIRECTOR_KEY = bytes(range(32))
FLEET_ADMISSION_REQUIRED = False
FLEET_CLIENT_ADDRESS_HEADER = "X-Real-IP"
ALLOWED_HOSTS = ["127.0.0.1"]
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
CELERY_TASK_ALWAYS_EAGER = True
CELERY_TASK_EAGER_PROPAGATES = True
# A car here calls when it is done and not while it works.
FLEET = dataclasses.replace(POLICY, lease_seconds=24 * 3600.0)
