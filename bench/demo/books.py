"""The books of a run, as plain values: replicas by outcome, earning items, and every transfer of the ledger."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


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
