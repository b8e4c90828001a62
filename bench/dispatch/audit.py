"""Look at the database itself: when everything is settled, and whether the books are right afterwards."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from bench.measure.statements import Connection

POLL_SECONDS = 0.02
# Without progress for so long, something is wrong with the server.
PATIENCE_SECONDS = 60.0

_PENDING = """
SELECT (SELECT count(*) FROM review),
       (SELECT coalesce(sum(verdict_number - settled_verdict_number), 0) FROM batch_progress)
"""

# Each must be zero. A replica whose unit has no second report yet is not wrong: nobody was given the other one.
_WRONG: Mapping[str, str] = {
    "valid_but_not_credited": """
        SELECT count(*) FROM replica r WHERE state = 'VALID' AND NOT EXISTS (SELECT FROM earning_item e
            WHERE (e.batch_id, e.unit_number, e.owner_id) = (r.batch_id, r.unit_number, r.owner_id))""",
    "credited_but_not_valid": """
        SELECT count(*) FROM earning_item e WHERE NOT EXISTS (SELECT FROM replica r WHERE r.state = 'VALID'
            AND (e.batch_id, e.unit_number, e.owner_id) = (r.batch_id, r.unit_number, r.owner_id))""",
    "credited_twice": """
        SELECT count(*) - count(DISTINCT (batch_id, unit_number, owner_id)) FROM earning_item""",
    "units_without_their_quorum": """
        SELECT count(*) FROM (
            SELECT FROM earning_item e JOIN batch b ON b.id = e.batch_id
            GROUP BY e.batch_id, e.unit_number, b.quorum HAVING count(*) <> b.quorum) AS odd""",
    "reported_but_not_judged": """
        SELECT count(*) FROM (
            SELECT FROM replica r JOIN batch b ON b.id = r.batch_id WHERE r.state = 'REPORTED'
            GROUP BY r.batch_id, r.unit_number, b.quorum HAVING count(*) >= b.quorum) AS waiting""",
    "items_not_in_the_ledger": """
        SELECT abs((SELECT coalesce(sum(amount_microcredits), 0) FROM earning_item)
                 - (SELECT coalesce(sum(amount_microcredits), 0) FROM transfer WHERE kind = 'settlement'))""",
    "ledger_sum": "SELECT coalesce(sum(balance_microcredits), 0) FROM account_balance_view",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Books:
    """What the database says at the end. `wrong` names each broken invariant with its size; empty is right."""

    credited: int
    reported: int
    unpaired: int
    transfers: int
    wrong: dict[str, int]


def wait_until_settled(connection: Connection) -> None:
    """Return when nothing waits for a verdict and every verdict is in the ledger. Raises TimeoutError."""
    pending, changed_at = None, time.monotonic()
    while True:
        with connection.cursor() as cursor:
            cursor.execute(_PENDING)
            found = cursor.fetchone()
        if found == (0, 0):
            return
        if found != pending:
            pending, changed_at = found, time.monotonic()
        if time.monotonic() - changed_at > PATIENCE_SECONDS:
            raise TimeoutError(f"reviews and verdicts waiting: {pending}, unchanged for {PATIENCE_SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)


def read_books(connection: Connection) -> Books:
    """Count what was credited, and check every invariant."""
    wrong = {name: _count(connection, query) for name, query in _WRONG.items()}
    return Books(
        credited=_count(connection, "SELECT count(*) FROM earning_item"),
        reported=_count(connection, "SELECT count(*) FROM replica WHERE reported_at IS NOT NULL"),
        unpaired=_count(connection, "SELECT count(*) FROM replica WHERE state = 'REPORTED'"),
        transfers=_count(connection, "SELECT count(*) FROM transfer"),
        wrong={name: count for name, count in wrong.items() if count},
    )


def _count(connection: Connection, query: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(query)
        row = cursor.fetchone()
    return int(row[0]) if row else 0
