"""Data tests that need several connections commit for real and clean up after themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

TABLES = ("unit", "shard", "batch_progress", "batch", "dataset", "model", "project")


@pytest.fixture
def real_commits(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Let a test commit. Django's own way, which truncates every table, is refused by the ledger's triggers."""
    from django.db import connection

    with django_db_blocker.unblock():
        try:
            yield
        finally:
            with connection.cursor() as cursor:
                for table in TABLES:
                    cursor.execute(f"DELETE FROM {table}")
            connection.close()
