"""Credit: turn earning items, the immutable source documents of pay, into ledger transfers.

Verdicts write the items (see validate); this aggregates them per batch and owner. Running it twice, or after a crash at
any point, adds nothing: the watermark and the transfers share a transaction, and a transfer's id is made from them.
"""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from workunits.store.ledger import list_batches_to_settle, settle_batch


def settle_credit(*, now: datetime) -> int:
    """Settle every batch that has unsettled verdicts; return how many transfers were written."""
    transfers = 0
    for batch_id in list_batches_to_settle():
        with transaction.atomic():
            transfers += settle_batch(batch_id, now=now)
    return transfers
