"""Credit: turn earning items, the immutable source documents of pay, into ledger transfers.

Verdicts write the items (see validate); this aggregates them per batch and owner. An item of a level with audits is
provisional: it goes to the owner's provisional account, and from there to what he has earned once it is final, or back
where it came from if it is revoked. Running it twice, or after a crash at any point, adds nothing: the watermarks and
the transfers share a transaction, and a transfer's id is made from them.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from django.conf import settings
from django.db import transaction

from workunits.domain.errors import carry_on
from workunits.models import Account
from workunits.store.ledger import get_platform_balance, list_batches_to_settle, settle_batch

log = logging.getLogger(__name__)


def settle_credit(*, now: datetime) -> int:
    """Settle every batch that has unsettled verdicts or results to release; return how many transfers were written."""
    release_before = last_release(now)

    def settle(batch_id: int) -> int:
        with transaction.atomic():
            return settle_batch(batch_id, release_before=release_before, now=now)

    return sum(carry_on(list_batches_to_settle(release_before=release_before), settle))


def last_release(now: datetime) -> datetime:
    """Return when the present set of final results began; those of earlier sets are released.

    Sets are the same for everybody and as long as the policy says, counted from the start of 1970: a credit that moved
    just when an audit passed would tell a cheat that the next results are safe for a while.
    """
    seconds = settings.FLEET.release_seconds
    return datetime.fromtimestamp(now.timestamp() // seconds * seconds, UTC)


def check_verification_account() -> int:
    """Return what the platform has left for re-runs, in microcredits; below the named limit operators are alarmed."""
    balance = get_platform_balance(Account.Kind.PLATFORM_VERIFICATION)
    if -balance > settings.FLEET.verification_debt_microcredits_max:
        log.error("re-runs have cost %s microcredits more than was set aside for them", -balance)
    return balance
