"""What PostgreSQL says it did: statements by text (pg_stat_statements), and how much write-ahead log that took."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import psycopg2
import psycopg2.extensions

Connection = psycopg2.extensions.connection
_LANE = re.compile(r"\b(unit|replica|review|unit_event|earning_item|sync_vehicle|apply_verdicts)_[0-9]+\b")
_CALL = re.compile(r"SELECT \* FROM \w+\(in_\w+ => ")


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement:
    """One kind of statement: its text with constants removed, how often it ran, and for how long."""

    text: str
    calls: int
    total_ms: float
    rows: int
    wal_bytes: int


@contextlib.contextmanager
def open_database(url: str) -> Iterator[Connection]:
    """Yield a connection of the benchmark's own, in autocommit."""
    with contextlib.closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        yield connection


def reset_statements(connection: Connection) -> None:
    """Begin a new count."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_statements_reset()")


def read_statements(connection: Connection) -> list[Statement]:
    """Return what ran since the last reset, the costliest first, nested statements included; not this reader's own."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT query, calls, total_plan_time + total_exec_time, rows, wal_bytes FROM pg_stat_statements"
            " WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
            " AND query NOT LIKE '%pg_stat_statements%' ORDER BY 3 DESC"
        )
        return [
            Statement(text=text, calls=calls, total_ms=spent, rows=rows, wal_bytes=int(wal_bytes))
            for text, calls, spent, rows, wal_bytes in cursor.fetchall()
        ]


def fold_lanes(statements: Sequence[Statement]) -> list[Statement]:
    """Return the statements with those that differ only in the lane they name added up, the costliest first."""
    folded: dict[str, Statement] = {}
    for statement in statements:
        text = _LANE.sub(r"\1", statement.text)
        known = folded.get(text)
        folded[text] = Statement(
            text=text,
            calls=statement.calls + (known.calls if known else 0),
            total_ms=statement.total_ms + (known.total_ms if known else 0.0),
            rows=statement.rows + (known.rows if known else 0),
            wal_bytes=statement.wal_bytes + (known.wal_bytes if known else 0),
        )
    return sorted(folded.values(), key=lambda statement: -statement.total_ms)


def count_calls(statements: Sequence[Statement]) -> int:
    """Return how many statements were executed in all. A call of a function counts by the statements in it."""
    return sum(statement.calls for statement in statements if not _CALL.match(statement.text))


def wal_position(connection: Connection) -> int:
    """Return how many bytes of write-ahead log have ever been written."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
        row = cursor.fetchone()
    return int(row[0]) if row else 0
