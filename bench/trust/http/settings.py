"""The server's settings in a run on virtual time: known keys, tasks run in the caller, hours where cars call rarely."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

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
# In place of the client's confined runner; the stage writes the file of weights.
FLEET_ANCHOR_COMMAND = (
    sys.executable, "-I", "-S", str(Path(__file__).with_name("anchor_command.py")), os.environ["BENCH_WEIGHTS"],
)  # fmt: skip
# A car here calls when it is done and not while it works.
FLEET = dataclasses.replace(POLICY, lease_seconds=24 * 3600.0)
