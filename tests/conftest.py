"""Starts the suite's own PostgreSQL before Django's settings are read, and ends it with the test session.

DATABASE_URL uses another server, PGBIN other binaries. Valkey starts when a test asks for `broker_url`.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from fleetcompute.embedded import EmbeddedError, Services
from fleetcompute.embedded.identity import erase_data

# onnxruntime sends reports over the network otherwise, from a thread that its import starts.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
HOME = Path(tempfile.mkdtemp(prefix="fleetcompute-tests-"))


def _start_database() -> Services:
    """Start the services that every test may need, and arrange for their end however the session ends.

    When the session is killed with -9, the kernel ends the server with it.
    """
    owner_pid = os.getpid()
    services = Services(HOME, with_valkey=False, is_durable=False)

    def stop() -> None:
        if os.getpid() == owner_pid:  # not in a child that a test has forked
            services.__exit__(None, None, None)
            _erase(HOME)

    try:
        services.__enter__()
    except EmbeddedError as error:
        pytest.exit(str(error), returncode=1)
    atexit.register(stop)
    return services


def _erase(home: Path) -> None:
    shutil.rmtree(home, ignore_errors=True)
    erase_data(home)


# A session that is terminated ends as one that is interrupted: in order.
signal.signal(signal.SIGTERM, signal.default_int_handler)
SERVICES = _start_database()
os.environ.update(
    FLEET_HOME=str(HOME),
    DATABASE_URL=SERVICES.database_url or "",
    BLOB_STORE_URL=(HOME / "blobs").as_uri(),
    DJANGO_SETTINGS_MODULE="fleetcompute.settings.test",
)

# pytest-django has looked for the settings already, before this file was imported; reading one of them makes it
# look again when it configures itself.
from django.conf import settings  # noqa: E402

assert settings.DATABASES

# Shared machines are slow at times: an example that takes long is not a failure.
hypothesis_settings.register_profile(
    "fleetcompute", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
hypothesis_settings.load_profile("fleetcompute")


@pytest.fixture(scope="session")
def broker_url() -> Iterator[str]:
    """Start Valkey for the tests that talk to a real broker, unless CELERY_BROKER_URL names one."""
    home = Path(tempfile.mkdtemp(prefix="fleetcompute-tests-broker-"))
    with Services(home, with_postgres=False) as services:
        yield services.broker_url or ""
    _erase(home)


def _empty_tables(_: object) -> None:
    """Empty every table after a test that committed.

    Django's own way cannot: the ledger refuses TRUNCATE, and the partitioned tables are not Django's to know.
    """
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT string_agg(format('%I', relname), ', ') FROM pg_class WHERE relkind IN ('r', 'p')"
            " AND NOT relispartition AND relnamespace = 'public'::regnamespace"
            " AND relname NOT IN ('django_migrations', 'django_content_type', 'auth_permission')"
        )
        (tables,) = cursor.fetchone()
        for switch in ("DISABLE", "ENABLE"):
            for immutable in ("transfer", "admission_log"):
                cursor.execute(f"ALTER TABLE {immutable} {switch} TRIGGER USER")
            if switch == "DISABLE":
                cursor.execute(f"TRUNCATE {tables} CASCADE")


@pytest.fixture(autouse=True, scope="session")
def _tables_emptied_our_way() -> None:
    from django.test import TransactionTestCase

    TransactionTestCase._fixture_teardown = _empty_tables  # type: ignore[attr-defined]
