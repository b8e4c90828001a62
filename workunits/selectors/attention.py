"""What waits for an operator: appeals, cars that are held back, anchors, models that were paused by an alarm, debts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.db.models import Count, Min, Q

from workunits.domain.audits.draws import AuditRules, factor_without_anchors
from workunits.domain.audits.levels import AUDIT_FACTOR
from workunits.domain.audits.standing import Standing
from workunits.models import Account, AnchorMachine, AnchorRun, BatchNotice, VehicleStanding
from workunits.store.alarms import MISMATCH_CODE
from workunits.store.anchors import ALIVE_FOR
from workunits.store.ledger import get_platform_balance

LATELY: Final = timedelta(days=7)


@dataclass(frozen=True, kw_only=True, slots=True)
class Attention:
    """Numbers for the console's first page.

    Attributes:
        appeals: how many wait for an answer.
        anchors: machines that can run units and were heard of lately; `anchors_unfit` cannot.
        runs_waiting: units that wait for an anchor, the oldest since `waiting_since`.
        alarms: batches that an alarm has paused in the last days.
        debt_microcredits: what re-runs have cost beyond what was set aside, where that is above the limit; else 0.
    """

    appeals: int
    watched: int
    quarantined: int
    anchors: int
    anchors_unfit: int
    runs_waiting: int
    waiting_since: datetime | None
    alarms: int
    debt_microcredits: int

    @property
    def factor_held(self) -> float:
        """The largest audit factor whose bound holds while no anchor is at work."""
        rules = AuditRules(friend_share=settings.FLEET.audit_friend_ratio)
        return max(factor_without_anchors(level, rules) for level in AUDIT_FACTOR)


def get_attention(*, now: datetime) -> Attention:
    """Return what waits for an operator; five reads."""
    judged = VehicleStanding.objects.aggregate(
        appeals=Count("pk", filter=Q(appealed_at__isnull=False, appeal_answered_at__isnull=True)),
        watched=Count("pk", filter=Q(state=Standing.WATCHED)),
        quarantined=Count("pk", filter=Q(state=Standing.QUARANTINED)),
    )
    machines = AnchorMachine.objects.filter(seen_at__gt=now - ALIVE_FOR).aggregate(
        fit=Count("pk", filter=Q(problem="")), unfit=Count("pk", filter=~Q(problem=""))
    )
    runs = AnchorRun.objects.filter(state=AnchorRun.State.WAITING).aggregate(count=Count("pk"), since=Min("created_at"))
    debt = -get_platform_balance(Account.Kind.PLATFORM_VERIFICATION)
    return Attention(
        **judged,
        anchors=machines["fit"],
        anchors_unfit=machines["unfit"],
        runs_waiting=runs["count"],
        waiting_since=runs["since"],
        alarms=BatchNotice.objects.filter(code=MISMATCH_CODE, at__gt=now - LATELY).count(),
        debt_microcredits=debt if debt > settings.FLEET.verification_debt_microcredits_max else 0,
    )
