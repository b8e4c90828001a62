"""One vehicle's trust, and why it is what it is: standing, weights, audits, commitments with their draws, events."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.conf import settings

from workunits.domain.audits.draws import (
    AuditRules,
    TrustWeights,
    audit_probability,
    decay,
    is_young,
    make_draw_rule,
)
from workunits.domain.audits.history import Accepted, Believed, Loss, reckon_back
from workunits.domain.audits.levels import AUDIT_FACTOR
from workunits.domain.audits.sequence import AuditState
from workunits.domain.audits.standing import Standing
from workunits.models import (
    Audit,
    OnnxModel,
    Revocation,
    TrustEvent,
    Vehicle,
    VehicleCommit,
    VehicleStanding,
    VehicleTrust,
)
from workunits.selectors.audit_statistics import LEVEL_OF
from workunits.store.db import fetch_all

EVENTS_SHOWN: Final = 100
AUDITS_SHOWN: Final = 50
COMMITS_SHOWN: Final = 400
RESULTS_SHOWN: Final = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Weight:
    """Accepted weight at one scope: `microcredits` decayed to now, `weighed` as it was at `weighed_at`.

    `probability`: of an audit of a result as heavy as the last one.
    """

    level: str
    model: str
    comparison_class: str
    microcredits: int
    weighed: int
    weighed_at: datetime
    final_sequence: int | None
    probability: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class TrustView:
    """All that an operator is shown. `history` and `commits` are in order, `events` and `audits` newest first.

    `history` has what was believed at each level after each of the last accepted results and each reset since, and
    what is left of it now; `commits` are those whose results are not final.
    """

    vehicle: Vehicle
    standing: VehicleStanding | None
    weights: list[Weight]
    history: dict[str, list[Believed]]
    open_audits: list[Audit]
    failed_audits: list[Audit]
    commits: list[VehicleCommit]
    events: list[TrustEvent]
    revoked: int


def get_vehicle_trust(vehicle_id: int, *, now: datetime) -> TrustView | None:
    """Return the vehicle's trust; None where there is no such vehicle. A fixed number of reads, each bounded."""
    vehicle = Vehicle.objects.select_related("owner", "presence", "standing").filter(id=vehicle_id).first()
    if vehicle is None:
        return None
    standing: VehicleStanding | None = getattr(vehicle, "standing", None)
    commits = list(VehicleCommit.objects.filter(vehicle_id=vehicle_id).order_by("-sequence")[:COMMITS_SHOWN])
    audits = Audit.objects.filter(vehicle_id=vehicle_id).select_related("batch").order_by("-sequence", "-id")
    weights = _list_weights(vehicle, standing, commits, now)
    return TrustView(
        vehicle=vehicle,
        standing=standing,
        weights=weights,
        history=_list_history(vehicle_id, weights, now),
        open_audits=list(audits.filter(state=AuditState.OPEN)[:AUDITS_SHOWN]),
        failed_audits=list(audits.filter(state=AuditState.FAILED)[:AUDITS_SHOWN]),
        commits=commits[::-1],
        events=list(TrustEvent.objects.filter(vehicle_id=vehicle_id).order_by("-at", "-id")[:EVENTS_SHOWN]),
        revoked=Revocation.objects.filter(vehicle_id=vehicle_id).count(),
    )


def _list_history(vehicle_id: int, weights: list[Weight], now: datetime) -> dict[str, list[Believed]]:
    rows = fetch_all("list_accepted_results", {"vehicle_id": vehicle_id, "items_max": RESULTS_SHOWN})
    accepted = [Accepted(at, level, amount) for at, level, amount in rows]
    resets = TrustEvent.objects.filter(vehicle_id=vehicle_id, kind=TrustEvent.Kind.RESET).order_by("-at", "-id")
    losses = [
        Loss(
            at, {LEVEL_OF[level].value: weight for level, model_id, name, weight in scopes if not model_id and not name}
        )
        for at, scopes in resets.values_list("at", "scopes")[:EVENTS_SHOWN]
        # Where more results were accepted than are read, what lies before them is not known.
        if len(accepted) < RESULTS_SHOWN or at >= accepted[-1].at
    ]
    levels = [each for each in weights if not each.model and not each.comparison_class]
    lines = reckon_back({each.level: Believed(each.weighed_at, each.weighed) for each in levels}, accepted, losses)
    return {each.level: [*lines[each.level], Believed(now, each.microcredits)] for each in levels}


def _list_weights(
    vehicle: Vehicle, standing: VehicleStanding | None, commits: list[VehicleCommit], now: datetime
) -> list[Weight]:
    rows = list(VehicleTrust.objects.filter(vehicle=vehicle).order_by("level", "comparison_class", "model_id"))
    names = dict(OnnxModel.objects.filter(id__in=[row.model_id for row in rows]).values_list("id", "name"))
    rules = AuditRules(
        friend_share=settings.FLEET.audit_friend_ratio,
        floor=settings.FLEET.audit_floor_ratio,
        model_factor=settings.FLEET.audit_model_factor,
    )
    weights = {(row.level, row.model_id, row.comparison_class): _decayed(row, rules, now) for row in rows}
    last_weight = {commit.level: commit.weight for commit in reversed(commits)}
    is_watched = standing is not None and standing.state != Standing.NORMAL

    def probability(row: VehicleTrust) -> float | None:
        level, weight = LEVEL_OF[row.level], last_weight.get(row.level, 0)
        if not row.model_id or level not in AUDIT_FACTOR or weight <= 0:
            return None
        believed = TrustWeights(
            level=weights.get((row.level, 0, ""), 0.0),
            comparison_class=weights.get((row.level, 0, row.comparison_class), 0.0),
            model=weights[(row.level, row.model_id, row.comparison_class)],
        )
        rule = make_draw_rule(level, believed, rules, is_watched=is_watched)
        return 1.0 if is_young(rule, weight) else audit_probability(rule, weight)

    return [
        Weight(
            level=LEVEL_OF[row.level].value,
            model=names.get(row.model_id, f"model {row.model_id}") if row.model_id else "",
            comparison_class=row.comparison_class,
            microcredits=int(weights[(row.level, row.model_id, row.comparison_class)]),
            weighed=row.weight_microcredits,
            weighed_at=row.weighed_at,
            final_sequence=None if row.model_id or row.comparison_class else row.final_sequence,
            probability=probability(row),
        )
        for row in rows
    ]


def _decayed(row: VehicleTrust, rules: AuditRules, now: datetime) -> float:
    elapsed, idle = (now - row.weighed_at).total_seconds(), (now - row.last_commit_at).total_seconds()
    return decay(row.weight_microcredits, elapsed, idle_seconds=idle, rules=rules)
