"""Settings that every installation shares."""

from __future__ import annotations

from typing import Any

import dj_database_url
import django_stubs_ext

from fleetcompute.celery import app as celery_app  # noqa: F401  # shared tasks bind to it in every Django process
from fleetcompute.settings import env
from fleetcompute.settings.engine import MIB, EnginePolicy

# Lets classes name the types that Django's generic bases hold, as the type checker wants them: ModelAdmin[Batch].
django_stubs_ext.monkeypatch()

BASE_DIR = env.PROJECT_ROOT
FLEET_HOME = env.fleet_home()

# The engine's policy and keys.
FLEET: EnginePolicy = env.engine_policy()
FLEET_TOKEN_KEY: bytes = env.token_key()
FLEET_DIRECTOR_KEY: bytes = env.director_key()
# What a credit is worth, for the estimate on an owner's screen; without a currency it has no price.
FLEET_CURRENCY: str = env.currency()
FLEET_MICROCREDITS_PER_CURRENCY_UNIT: int = env.integer("FLEET_MICROCREDITS_PER_CURRENCY_UNIT", default=1_000_000)
BLOB_STORE_URL: str = env.blob_store_url()
# Whether a batch waits until the admission service has signed its model. Without it cars hand the work back, unless
# they are simulations that trust their server.
FLEET_ADMISSION_REQUIRED: bool = env.flag("FLEET_ADMISSION_REQUIRED", default=True)
# The admission service's own folder: keys, repository, log. No web process can or needs to read it.
FLEET_ADMISSION_FOLDER = env.admission_folder()
# How an anchor starts the vehicle client, whose confined runner runs units again, and where both keep files meanwhile.
FLEET_ANCHOR_COMMAND: tuple[str, ...] = env.anchor_command()
FLEET_ANCHOR_FOLDER = env.anchor_folder()

SECRET_KEY: str = env.secret_key()
DEBUG = False
ALLOWED_HOSTS: list[str] = env.comma_list("FLEET_ALLOWED_HOSTS")
CSRF_TRUSTED_ORIGINS: list[str] = env.comma_list("FLEET_TRUSTED_ORIGINS")

INSTALLED_APPS = [
    "workunits",
    "fleetcompute.api",
    "fleetcompute.portal",
    "fleetcompute.console",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "fleetcompute.urls"
WSGI_APPLICATION = "fleetcompute.wsgi.application"
AUTH_USER_MODEL = "workunits.User"
LOGIN_URL = "/login/"
LOGIN_REDIRECT_URL = "/"
# Where people and cars reach this installation: links in messages and the address that a pairing car shows.
FLEET_PUBLIC_URL: str = (env.text("FLEET_PUBLIC_URL") or "http://127.0.0.1:8000").rstrip("/")
# Where a proxy in front writes the caller's address, overwriting what the caller wrote there; else the socket tells it.
FLEET_CLIENT_ADDRESS_HEADER: str = env.text("FLEET_CLIENT_ADDRESS_HEADER") or ""

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# Connections stay open: a fresh one for each request costs thirteen times the throughput. Django's health check is
# off because it is one more statement a request; after a database restart each thread fails once, then reconnects.
_database_url = env.database_url()
DATABASES: dict[str, Any] = {
    "default": (
        dj_database_url.parse(_database_url, conn_max_age=None, conn_health_checks=False)
        if _database_url
        else {"ENGINE": "fleetcompute.settings.absent_database", "NAME": "absent"}
    ),
}
# PgBouncer in transaction mode cannot hold a server-side cursor between statements.
DATABASES["default"]["DISABLE_SERVER_SIDE_CURSORS"] = env.flag("FLEET_DATABASE_POOLED", default=False)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

_cache_url = env.cache_url()
CACHES: dict[str, Any] = {
    "default": (
        {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": _cache_url}
        if _cache_url
        else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    ),
}

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("vi", "Tiếng Việt")]
LOCALE_PATHS = [BASE_DIR / "fleetcompute" / "locale"]
USE_TZ = True
TIME_ZONE = "UTC"

STATIC_URL = "/static/"
# Without `collectstatic`, files are found where the applications keep them; production turns this off.
WHITENOISE_USE_FINDERS = True

# A body that is read into memory is at most one output and its framing; larger ones are streamed by their views.
DATA_UPLOAD_MAX_MEMORY_SIZE = FLEET.unit_output_bytes_max + MIB

REST_FRAMEWORK: dict[str, Any] = {
    # A view that forgets to say who may call it refuses everybody.
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["fleetcompute.api.renderers.OrjsonRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "EXCEPTION_HANDLER": "fleetcompute.api.errors.problem_handler",
    "UNAUTHENTICATED_USER": None,
}

# Without a broker, messages stay in the process that sends them: commands work, and the sweep finds what they left.
CELERY_BROKER_URL = env.broker_url() or "memory://"
# True only in tests, where a task runs inside the call that sends it.
CELERY_TASK_ALWAYS_EAGER = False

LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": env.text("FLEET_LOG_LEVEL") or "INFO"},
    # Refused requests are answered and counted; a line for each would let a broken car fill the disk.
    "loggers": {"django.request": {"level": "ERROR"}},
}
