"""What owners see: their cars and their credits."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import F, Q, QuerySet, Sum

from workunits.models import Account, EarningItem, Owner, Vehicle


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnerCredits:
    """An owner's money in microcredits: `earned` is in the ledger, `pending` waits for the next settlement."""

    earned_microcredits: int
    pending_microcredits: int


def find_owner(user_id: int) -> Owner | None:
    """Return the owner that this user is, if any."""
    return Owner.objects.filter(user_id=user_id).first()


def list_vehicles(owner_id: int) -> QuerySet[Vehicle]:
    """Return the owner's cars with their presence, active ones first."""
    return Vehicle.objects.filter(owner_id=owner_id).select_related("presence").order_by("status", "name", "id")


def get_credits(owner_id: int) -> OwnerCredits:
    """Return what the owner has earned, settled and not.

    Pending items are those past their batch's settlement watermark, looked for only in batches that have any.
    """
    earned = Account.objects.filter(owner_id=owner_id, kind=Account.Kind.OWNER_EARNED).aggregate(
        total=Sum("balance__balance_microcredits")
    )
    unsettled = Q(batch__progress__settled_verdict_number__lt=F("batch__progress__verdict_number")) & Q(
        verdict_number__gt=F("batch__progress__settled_verdict_number")
    )
    pending = EarningItem.objects.filter(unsettled, owner_id=owner_id).aggregate(total=Sum("amount_microcredits"))
    return OwnerCredits(earned_microcredits=earned["total"] or 0, pending_microcredits=pending["total"] or 0)
