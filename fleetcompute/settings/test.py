"""The test suite: known keys, cheap password hashes, Celery tasks run in the caller."""

from __future__ import annotations

from fleetcompute.settings.base import *

SECRET_KEY = "only-for-tests-" + "0" * 40
FLEET_TOKEN_KEY = bytes(range(16))
FLEET_DIRECTOR_KEY = bytes(range(32))
ALLOWED_HOSTS = ["testserver", "localhost", "127.0.0.1"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
CELERY_TASK_ALWAYS_EAGER = True
CELERY_TASK_EAGER_PROPAGATES = True
WHITENOISE_AUTOREFRESH = True  # no scan of the static folders at each start of the test client
# Tests make models that no admission service has seen; those of admission itself turn it on.
FLEET_ADMISSION_REQUIRED = False
