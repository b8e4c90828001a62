"""Reads the books out of the database. Imported once the process works on an installation (`accounts`)."""

from __future__ import annotations

from collections import Counter, defaultdict

from django.db.models import F

from bench.demo.books import Books, Posting
from bench.demo.cars import Car
from workunits.models import BatchProgress, EarningItem, Replica, Transfer


def read_books() -> Books:
    """Read everything; the installation holds this demonstration alone."""
    by_batch: dict[str, Counter[str]] = defaultdict(Counter)
    by_car: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for batch, owner, car, state in Replica.objects.values_list(
        "batch__public_id", "owner__display_name", "vehicle__name", "state"
    ):
        by_batch[batch][state] += 1
        by_car[owner, car][state] += 1
    earned: Counter[str] = Counter()
    items: Counter[str] = Counter()
    for owner, amount in EarningItem.objects.values_list("owner__display_name", "amount_microcredits"):
        earned[owner] += amount
        items[owner] += 1
    return Books(
        replicas=dict(by_batch), replicas_by_car=dict(by_car), earned=earned, items=items, postings=_read_postings()
    )


def is_settled() -> bool:
    """Tell whether every output is judged, and every verdict's earning items are in the ledger."""
    if Replica.objects.filter(state="REPORTED").exists():
        return False
    return not BatchProgress.objects.exclude(verdict_number=F("settled_verdict_number")).exists()


def count_expired(car: Car) -> int:
    """Return how many leases of the car have run out."""
    return Replica.objects.filter(
        vehicle__name=car.plan.name, owner__display_name=car.plan.owner, state="EXPIRED"
    ).count()


def _read_postings() -> list[Posting]:
    rows = Transfer.objects.order_by("sequence").values_list(
        "debit__code", "credit__code", "amount_microcredits", "credit__owner__display_name"
    )
    return [Posting(debit=d, credit=c, amount_microcredits=a, owner=o) for d, c, a, o in rows]
