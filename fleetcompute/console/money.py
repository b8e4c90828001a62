"""Money: earning items, accounts and transfers. All immutable; a correction is a new transfer, never an edit."""

from __future__ import annotations

from django.contrib import admin

from fleetcompute.console.bases import HotTableAdmin, ReadOnlyAdmin
from workunits.models import Account, AccountBalance, EarningItem, EarningOutcome, Transfer


@admin.register(EarningItem)
class EarningItemAdmin(HotTableAdmin):
    """What verdicts earned owners."""

    key_fields = ("batch_id", "unit_number", "owner_id")
    list_display = (
        "id", "batch", "owner", "vehicle", "amount_microcredits", "provisional", "verification", "verdict_number",
        "created_at",
    )  # fmt: skip
    list_select_related = ("batch", "owner", "vehicle")


@admin.register(EarningOutcome)
class EarningOutcomeAdmin(HotTableAdmin):
    """What became of provisional items."""

    key_fields = ("batch_id", "unit_number", "owner_id")
    list_display = ("id", "batch", "owner", "outcome", "amount_microcredits", "verdict_number", "created_at")
    list_select_related = ("batch", "owner")


@admin.register(Account)
class AccountAdmin(ReadOnlyAdmin):
    """Accounts of the ledger."""

    list_display = ("code", "kind", "owner", "project", "created_at")
    list_filter = ("kind",)
    search_fields = ("code", "=owner__public_id", "=project__public_id")
    ordering = ("code",)
    list_select_related = ("owner", "project")


@admin.register(AccountBalance)
class AccountBalanceAdmin(ReadOnlyAdmin):
    """Balances, folded from the transfers."""

    list_display = ("account", "debit_microcredits", "credit_microcredits", "balance_microcredits")
    search_fields = ("account__code",)
    ordering = ("account_id",)
    list_select_related = ("account",)


@admin.register(Transfer)
class TransferAdmin(ReadOnlyAdmin):
    """Transfers: one debit, one credit."""

    list_display = ("sequence", "debit", "credit", "amount_microcredits", "kind", "batch_id", "created_at")
    list_filter = ("kind",)
    search_fields = ("=id", "=debit__code", "=credit__code")
    ordering = ("-sequence",)
    list_select_related = ("debit", "credit")
