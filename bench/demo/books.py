"""The books of a run, as plain values: replicas by outcome, earning items, and every transfer of the ledger."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Posting:
    """One transfer, with the names of its accounts.

    `owner`: whose account is credited, and `payer`: whose is debited, by name, where they are an owner's.
    """

    debit: str
    credit: str
    amount_microcredits: int
    owner: str | None
    payer: str | None = None


@dataclass(frozen=True, kw_only=True)
class Books:
    """A reading of the books.

    Attributes:
        by_batch: how many leases ended in which state, `{batch id: {state: count}}`. A replica that was handed back or
            ran out and was leased again counts once for each lease.
        by_owner: the same for each owner, by name.
        earned: microcredits of earning items by owner, those of results that were taken back left out.
        items: number of these earning items by owner.
    """

    by_batch: dict[str, Counter[str]]
    by_owner: dict[str, Counter[str]]
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
        """Return what each owner has by the ledger, provisionally or for good, in microcredits."""
        paid: Counter[str] = Counter()
        for posting in self.postings:
            if posting.owner is not None:
                paid[posting.owner] += posting.amount_microcredits
            if posting.payer is not None:
                paid[posting.payer] -= posting.amount_microcredits
        return paid
