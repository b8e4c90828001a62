"""The double-entry ledger: every transfer debits one account and credits another by a positive integer of microcredits.

Rows of `transfer` are never changed or removed: a trigger refuses it (`workunits/sql/schema/`). A correction is a new
transfer.
"""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from workunits.models.accounts import Owner, Project


class Account(models.Model):
    """A place money can be. `code` is unique and readable, e.g. `project:prj_…:budget`."""

    class Kind(models.TextChoices):
        """What an account stands for."""

        CASH_IN = "cash_in"
        PROJECT_BUDGET = "project_budget"
        OWNER_EARNED = "owner_earned"
        OWNER_PROVISIONAL = "owner_provisional"
        PLATFORM_FEE = "platform_fee"
        PLATFORM_VERIFICATION = "platform_verification"
        PLATFORM_ROUNDING = "platform_rounding"

    code = models.CharField(max_length=80, unique=True)
    kind = models.CharField(max_length=32, choices=Kind.choices)
    owner = models.ForeignKey(Owner, null=True, blank=True, on_delete=models.PROTECT, related_name="accounts")
    project = models.ForeignKey(Project, null=True, blank=True, on_delete=models.PROTECT, related_name="accounts")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "account"

    def __str__(self) -> str:
        return self.code


class Transfer(models.Model):
    """One debit and one credit. The id is the caller's idempotency key: the same key again changes nothing."""

    class Kind(models.TextChoices):
        """Why money moves."""

        TOP_UP = "top_up"
        SETTLEMENT = "settlement"
        CORRECTION = "correction"
        RELEASE = "release"
        REVERSAL = "reversal"
        PREMIUM = "premium"
        PREMIUM_RETURN = "premium_return"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    sequence = models.BigIntegerField(unique=True, editable=False)
    debit = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="debits")
    credit = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="credits")
    amount_microcredits = models.BigIntegerField()
    kind = models.CharField(max_length=32, choices=Kind.choices)
    batch_id = models.BigIntegerField(null=True, blank=True)
    detail = models.CharField(max_length=300, default="", blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "transfer"
        constraints = [
            models.CheckConstraint(name="transfer_amount_positive", condition=Q(amount_microcredits__gt=0)),
            models.CheckConstraint(name="transfer_between_two_accounts", condition=~Q(debit=F("credit"))),
        ]
        indexes = [
            models.Index(name="transfer_by_batch", fields=["batch_id"], condition=Q(batch_id__isnull=False)),
        ]


class AccountBalance(models.Model):
    """A view: each account's debits, credits and balance (credits minus debits), folded from the transfers."""

    account = models.OneToOneField(Account, primary_key=True, on_delete=models.DO_NOTHING, related_name="balance")
    debit_microcredits = models.BigIntegerField()
    credit_microcredits = models.BigIntegerField()
    balance_microcredits = models.BigIntegerField()

    class Meta:
        managed = False
        db_table = "account_balance_view"
