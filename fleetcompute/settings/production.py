"""Any number of hosts behind a TLS proxy; everything that differs between them comes from the environment."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured

from fleetcompute.settings import env
from fleetcompute.settings.base import *

# Keys kept in a folder of one host would differ from those of the next: here they have to be given.
env.required_text("DATABASE_URL", purpose="the PostgreSQL address, postgresql://user:password@host/name")
env.required_text("CELERY_BROKER_URL", purpose="the broker's address, such as redis://host/0 or amqp://host")
env.required_text("BLOB_STORE_URL", purpose="where blobs are kept, such as s3://bucket/prefix")
env.required_text("FLEET_SECRET_KEY", purpose="a long random text that signs sessions, the same on every host")
env.required_text("FLEET_TOKEN_KEY", purpose="16 random bytes in hex that seal replica tokens, the same on every host")
env.required_text("FLEET_DIRECTOR_KEY", purpose="the Ed25519 seed in hex, or a path to it, that signs answers to cars")
if not env.comma_list("FLEET_ALLOWED_HOSTS"):
    raise ImproperlyConfigured("FLEET_ALLOWED_HOSTS must be set: the host names that this installation answers to.")

SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_SSL_REDIRECT = env.flag("FLEET_SSL_REDIRECT", default=True)
SECURE_HSTS_SECONDS = env.integer("FLEET_HSTS_SECONDS", default=31_536_000)
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
SECURE_HSTS_PRELOAD = True
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True

# `manage.py collectstatic` fills it when a release is installed.
STATIC_ROOT = FLEET_HOME / "static"
WHITENOISE_USE_FINDERS = False
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
