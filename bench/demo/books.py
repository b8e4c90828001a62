"""What the database says: replicas by outcome, earning items, and every transfer of the ledger.

Imported once the process works on an installation (`accounts.open_installation`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from django.db.models import F

from bench.demo.cars import Car
from workunits.models import BatchProgress, EarningItem, Replica, Transfer


@dataclass(frozen=True, kw_only=True)
class Posting:
    """One transfer, with the names of its accounts; the owner's name where one side is an owner's earnings."""

    debit: str
    credit: str
    amount_microcredits: int
    owner: str | None


@dataclass(frozen=True, kw_only=True)
class Books:
    """A reading of the books.

    Attributes:
        replicas: `{batch id: {state: count}}`.
        replicas_by_car: `{(owner, car): {state: count}}`.
        earned: microcredits of earning items by owner.
        items: number of earning items by owner.
    """

    replicas: dict[str, Counter[str]]
    replicas_by_car: dict[tuple[str, str], Counter[str]]
    earned: Counter[str]
    items: Counter[str]
    postings: list[Posting] = field(default_factory=list)

    def balances(self) -> Counter[str]:
        """Return each account's balance: credits minus debits, added up posting by posting."""
        balances: Counter[str] = Counter()
        for posting in self.postings:
            balances[posting.debit] -= posting.amount_microcredits
            balances[posting.credit] += posting.amount_microcredits
        return balances

    def paid(self) -> Counter[str]:
        """Return what the ledger has credited to each owner, in microcredits."""
        paid: Counter[str] = Counter()
        for posting in self.postings:
            if posting.owner is not None:
                paid[posting.owner] += posting.amount_microcredits
        return paid


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
    """Tell whether every verdict's earning items are in the ledger."""
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
