"""The day's bytes: what is counted, and when it is enough.

Two budgets: bytes sent, which bounds what a fleet turned against somebody could do, and bytes both ways, which bounds
an owner's bill. The last part of each is kept for syncs, so that a car whose transfers are over can still say so.
"""

from __future__ import annotations

from typing import ClassVar

from fleetclient.errors import ClientError
from fleetclient.netpolicy.policy import NetworkPolicy

# One part in so many of a budget is for messages only, not for files.
MESSAGES_SHARE = 20


class BudgetExhausted(ClientError):
    """The day's bytes are spent; it goes on tomorrow."""

    code: ClassVar[str] = "budget_exhausted"
    retryable: ClassVar[bool] = True


class ByteBudget:
    """Counts with the policy's meter and refuses what is over."""

    def __init__(self, policy: NetworkPolicy) -> None:
        self._policy = policy

    def check(self, *, is_file: bool, sending: int = 0) -> None:
        """Raise BudgetExhausted when `sending` more bytes, or any more at all, are too many for today.

        `is_file` says whether they are part of a file rather than of a message.
        """
        options, today = self._policy.options, self._policy.meter.today()
        limits = (options.egress_bytes_per_day_max, self._policy.signed_egress_bytes())
        egress_max = min((limit for limit in limits if limit > 0), default=0)
        if egress_max and today.bytes_sent + sending > _share(egress_max, is_file=is_file):
            raise BudgetExhausted(f"{today.bytes_sent} bytes were sent today, of {egress_max}; it goes on tomorrow")
        moved_max = options.daily_bytes_max
        if moved_max and today.bytes_moved + max(1, sending) > _share(moved_max, is_file=is_file):
            raise BudgetExhausted(f"{today.bytes_moved} bytes were moved today, of {moved_max}; it goes on tomorrow")

    def add(self, *, sent: int = 0, received: int = 0) -> None:
        """Count bytes."""
        self._policy.meter.add_bytes(sent, received)


def _share(limit: int, *, is_file: bool) -> int:
    return limit - limit // MESSAGES_SHARE if is_file else limit
