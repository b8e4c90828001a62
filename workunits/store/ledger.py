"""The ledger's only writer: transfers are inserted, never changed."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import ClassVar

from django.db import transaction
from django.db.models import Sum

from workunits.domain.audits.levels import is_audited, premium_ppm
from workunits.domain.errors import FleetError
from workunits.models import Account, AccountBalance, Batch, BatchProgress, Project
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


def list_batches_to_settle(*, release_before: datetime) -> list[int]:
    """Return the batches whose verdicts, or results that were final before then, are not in the ledger yet."""
    return [batch_id for (batch_id,) in fetch_all("list_batches_to_settle", {"release_before": release_before})]


def settle_batch(batch_id: int, *, release_before: datetime, now: datetime) -> int:
    """Bring the ledger up to date with what a batch's verdicts earned; return how many transfers that took.

    New items are settled and revoked ones reversed at once; those that became final before `release_before` are
    released. Locks the batch's progress row, and gives way where a verdict holds it. Call it inside a transaction.
    """
    progress = BatchProgress.objects.select_for_update(skip_locked=True).filter(batch_id=batch_id).first()
    if progress is None:
        return 0
    window = _window(progress, release_before)
    if (window["settled"], window["released"]) == (window["upto"], window["release_upto"]):
        return 0
    batch = Batch.objects.select_related("project").get(id=batch_id)
    verification = platform_account(Account.Kind.PLATFORM_VERIFICATION, now=now) if is_audited(batch.level) else None
    accounts = {
        "budget_account_id": budget_account(batch.project, now=now).id,
        "verification_account_id": None if verification is None else verification.id,
        "premium_ppm": premium_ppm(batch.level),
    }
    execute("open_owner_accounts", {**window, "now": now})
    due, written, stood = fetch_one("settle_batch", {**window, **accounts, "now": now}) or (0, 0, 0)
    if due != written + stood:
        raise SettlementIncomplete(f"batch {batch_id}: {due} transfers are due, {written + stood} stand")
    progress.settled_verdict_number = window["upto"]
    progress.released_verdict_number = window["release_upto"]
    progress.save(update_fields=["settled_verdict_number", "released_verdict_number"])
    return int(written)


def _window(progress: BatchProgress, release_before: datetime) -> dict[str, int]:
    """Return both watermarks, as they are and as they will be. Whatever is released was settled before or is now."""
    batch_id, released = progress.batch_id, progress.released_verdict_number
    parameters = {"batch_id": batch_id, "released": released, "release_before": release_before}
    (waits_behind,) = fetch_one("find_release_mark", parameters) or (None,)
    return {
        "batch_id": batch_id,
        "settled": progress.settled_verdict_number,
        "upto": progress.verdict_number,
        "released": released,
        "release_upto": progress.verdict_number if waits_behind is None else waits_behind,
    }


def get_platform_balance(kind: Account.Kind) -> int:
    """Return credits less debits of the platform's account of a kind, in microcredits. Adds up all of its transfers."""
    found = AccountBalance.objects.filter(account__kind=kind, account__owner=None, account__project=None)
    return int(found.aggregate(total=Sum("balance_microcredits"))["total"] or 0)
