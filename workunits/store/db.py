"""The only door to cursors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
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


def call_function(name: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Call a function of `sql/functions/` and return its rows. It is planned once a connection, not on every call."""
    values = {name: _array(value) if isinstance(value, list) else value for name, value in parameters.items()}
    with connection.cursor() as opened:
        opened.execute(_call(name, tuple(values)), values)
        return opened.fetchall()  # type: ignore[no-any-return]


@cache
def _call(name: str, parameters: tuple[str, ...]) -> str:
    arguments = ", ".join(f"in_{parameter} => %({parameter})s" for parameter in parameters)
    return f"SELECT * FROM {name}({arguments})"  # noqa: S608 - names from our own code; the values are parameters


def _array(values: list[Any]) -> Any:
    """Return a list of whole numbers as PostgreSQL writes arrays; psycopg2 would adapt the numbers one by one."""
    if not all(value is None or (isinstance(value, int) and not isinstance(value, bool)) for value in values):
        return values
    return f"{{{','.join('NULL' if value is None else str(int(value)) for value in values)}}}"
