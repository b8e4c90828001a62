"""The ledger's only writer: transfers are inserted, never changed."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import ClassVar

from django.db import transaction

from workunits.domain.errors import FleetError
from workunits.models import Account, Batch, BatchProgress, Project
from workunits.store.db import cursor, execute, fetch_all, fetch_one


class TransferKeyReused(FleetError):
    """This idempotency key belongs to another transfer."""

    code: ClassVar[str] = "transfer_key_reused"


class SettlementIncomplete(RuntimeError):
    """An owner's earnings found no transfer: a bug, for which nothing of this settlement was kept."""


def budget_account(project: Project, *, now: datetime) -> Account:
    """Return the project's budget account, made on first use."""
    account, _ = Account.objects.get_or_create(
        code=f"project:{project.public_id}:budget",
        defaults={"kind": Account.Kind.PROJECT_BUDGET, "project": project, "created_at": now},
    )
    return account


def platform_account(kind: Account.Kind, *, now: datetime) -> Account:
    """Return one of the platform's own accounts, made on first use."""
    account, _ = Account.objects.get_or_create(
        code=f"platform:{kind.value}", defaults={"kind": kind, "created_at": now}
    )
    return account


def post_transfer(
    *, key: uuid.UUID, debit: Account, credit: Account, amount_microcredits: int, kind: str, detail: str, now: datetime
) -> bool:
    """Record a transfer; return False where the same one was recorded before under this key.

    Raises:
        TransferKeyReused: the key belongs to a transfer with other accounts or another amount.
    """
    with transaction.atomic(), cursor() as opened:
        opened.execute(
            "INSERT INTO transfer (id, debit_id, credit_id, amount_microcredits, kind, detail, created_at)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (id) DO NOTHING",
            [str(key), debit.id, credit.id, amount_microcredits, kind, detail, now],
        )
        if opened.rowcount:
            return True
        opened.execute("SELECT debit_id, credit_id, amount_microcredits FROM transfer WHERE id = %s", [str(key)])
        if opened.fetchone() != (debit.id, credit.id, amount_microcredits):
            raise TransferKeyReused
        return False


def list_batches_to_settle() -> list[int]:
    """Return the batches with verdicts that are not in the ledger yet."""
    return [batch_id for (batch_id,) in fetch_all("list_batches_to_settle", {})]


def settle_batch(batch_id: int, *, now: datetime) -> int:
    """Move what a batch's verdicts earned since last time into the ledger; return how many transfers that took.

    Locks the batch's progress row, and gives way where a verdict holds it. Call it inside a transaction.
    """
    progress = BatchProgress.objects.select_for_update(skip_locked=True).filter(batch_id=batch_id).first()
    if progress is None or progress.settled_verdict_number == progress.verdict_number:
        return 0
    project = Batch.objects.select_related("project").get(id=batch_id).project
    window = {
        "batch_id": batch_id,
        "settled": progress.settled_verdict_number,
        "upto": progress.verdict_number,
        "budget_account_id": budget_account(project, now=now).id,
        "now": now,
    }
    execute("open_owner_accounts", window)
    owners, written, stood = fetch_one("settle_batch", window) or (0, 0, 0)
    if owners != written + stood:
        raise SettlementIncomplete(f"batch {batch_id}: {owners} owners earned, {written + stood} transfers stand")
    progress.settled_verdict_number = progress.verdict_number
    progress.save(update_fields=["settled_verdict_number"])
    return int(written)
