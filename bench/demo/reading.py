"""Reads the books out of the database. Imported once the process works on an installation (`accounts`)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Final

from django.db.models import F

from bench.demo.books import Books, Posting
from bench.demo.cars import Car
from workunits.models import BatchProgress, EarningItem, EarningOutcome, Owner, Replica, Transfer, UnitEvent

JUDGED: Final = ("VALID", "INVALID", "INCONCLUSIVE", "CANCELLED")
CAME_TO_NOTHING: Final = ("returned", "expired", "errored")


def read_books() -> Books:
    """Read everything; the installation holds this demonstration alone."""
    by_batch: dict[str, Counter[str]] = defaultdict(Counter)
    by_owner: dict[str, Counter[str]] = defaultdict(Counter)
    for batch, owner, state in _ended_leases():
        by_batch[batch][state] += 1
        by_owner[owner][state] += 1
    earned: Counter[str] = Counter()
    items: Counter[str] = Counter()
    revoked = set(EarningOutcome.objects.filter(outcome="revoked").values_list("id", flat=True))
    for item, owner, amount in EarningItem.objects.values_list("id", "owner__display_name", "amount_microcredits"):
        if item not in revoked:
            earned[owner] += amount
            items[owner] += 1
    return Books(
        by_batch=dict(by_batch), by_owner=dict(by_owner), earned=earned, items=items, postings=_read_postings()
    )


def _ended_leases() -> Iterator[tuple[str, str, str]]:
    """Yield `(batch, owner, state)` for every lease that has ended.

    Judged replicas are read from their rows. A row whose lease came to nothing may have been leased again since, so
    these ends are read from the events.
    """
    yield from Replica.objects.filter(state__in=JUDGED).values_list("batch__public_id", "owner__display_name", "state")
    names = dict(Owner.objects.values_list("id", "display_name"))
    events = UnitEvent.objects.filter(event__in=CAME_TO_NOTHING, owner_id__isnull=False)
    for batch, owner_id, event in events.values_list("batch__public_id", "owner_id", "event"):
        yield batch, names[owner_id or 0], event.upper()


def is_settled() -> bool:
    """Tell whether every output is judged, and every verdict's earning items are in the ledger."""
    if Replica.objects.filter(state="REPORTED").exists():
        return False
    return not BatchProgress.objects.exclude(verdict_number=F("settled_verdict_number")).exists()


def count_expired(car: Car) -> int:
    """Return how many leases of the car have run out."""
    owner_id = Owner.objects.values_list("id", flat=True).get(display_name=car.plan.owner)
    return UnitEvent.objects.filter(event="expired", owner_id=owner_id).count()


def _read_postings() -> list[Posting]:
    rows = Transfer.objects.order_by("sequence").values_list(
        "debit__code", "credit__code", "amount_microcredits", "credit__owner__display_name",
        "debit__owner__display_name",
    )  # fmt: skip
    return [Posting(debit=d, credit=c, amount_microcredits=a, owner=o, payer=p) for d, c, a, o, p in rows]
