"""The only door to cursors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.db import connection

from workunits.sql import load_sql


@contextmanager
def cursor() -> Iterator[Any]:
    """Yield a cursor on this thread's connection, inside whatever transaction is open."""
    with connection.cursor() as opened:
        yield opened


def fetch_all(name: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Run the SQL file `name` and return its rows."""
    with connection.cursor() as opened:
        opened.execute(load_sql(name), parameters)
        return opened.fetchall()  # type: ignore[no-any-return]  # DB-API cursors are untyped


def fetch_one(name: str, parameters: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """Run the SQL file `name` and return its first row, or None."""
    with connection.cursor() as opened:
        opened.execute(load_sql(name), parameters)
        return opened.fetchone()  # type: ignore[no-any-return]


def execute(name: str, parameters: Mapping[str, Any]) -> int:
    """Run the SQL file `name` and return how many rows it changed."""
    with connection.cursor() as opened:
        opened.execute(load_sql(name), parameters)
        return int(opened.rowcount)
