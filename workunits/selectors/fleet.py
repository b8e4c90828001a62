"""What owners see: their cars and their credits."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import F, Q, QuerySet, Sum

from workunits.models import Account, EarningItem, Owner, Vehicle


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnerCredits:
    """An owner's money in microcredits.

    `earned` is in the ledger and stays; `provisional` may still be taken back, in the ledger or on its way there;
    `pending` is checked and waits for the next settlement.
    """

    earned_microcredits: int
    provisional_microcredits: int
    pending_microcredits: int


def find_owner(user_id: int) -> Owner | None:
    """Return the owner that this user is, if any."""
    return Owner.objects.filter(user_id=user_id).first()


def list_vehicles(owner_id: int) -> QuerySet[Vehicle]:
    """Return the owner's cars with their presence and standing, active ones first."""
    cars = Vehicle.objects.filter(owner_id=owner_id).select_related("presence", "standing")
    return cars.order_by("status", "name", "id")


def get_credits(owner_id: int) -> OwnerCredits:
    """Return what the owner has earned, settled and not.

    Pending items are those past their batch's settlement watermark, looked for only in batches that have any.
    """
    kinds = (Account.Kind.OWNER_EARNED, Account.Kind.OWNER_PROVISIONAL)
    booked = dict(
        Account.objects.filter(owner_id=owner_id, kind__in=kinds)
        .order_by()
        .values_list("kind")
        .annotate(Sum("balance__balance_microcredits"))
    )
    unsettled = Q(batch__progress__settled_verdict_number__lt=F("batch__progress__verdict_number")) & Q(
        verdict_number__gt=F("batch__progress__settled_verdict_number")
    )
    pending = dict(
        EarningItem.objects.filter(unsettled, owner_id=owner_id)
        .order_by()
        .values_list("provisional")
        .annotate(Sum("amount_microcredits"))
    )
    return OwnerCredits(
        earned_microcredits=booked.get(Account.Kind.OWNER_EARNED) or 0,
        provisional_microcredits=(booked.get(Account.Kind.OWNER_PROVISIONAL) or 0) + pending.get(True, 0),
        pending_microcredits=pending.get(False, 0),
    )
