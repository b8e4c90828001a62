"""The PostgreSQL backend with a connection that always refuses, in one sentence that says what to do."""

from __future__ import annotations

from typing import Any, Never

from django.db.backends.postgresql import base
from django.db.utils import OperationalError

SENTENCE = "No database is configured: start the embedded services with `make up`, or set DATABASE_URL."


class NoDatabaseError(OperationalError):
    """Django's own checks treat it as "the database is away"."""


class DatabaseWrapper(base.DatabaseWrapper):
    """Behaves as PostgreSQL until it is asked to connect."""

    def get_new_connection(self, conn_params: dict[str, Any]) -> Never:
        """Raise NoDatabaseError."""
        raise NoDatabaseError(SENTENCE)
