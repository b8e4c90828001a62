"""The draw: what a vehicle has been believed, decayed to now, and how its commitments are chosen for an audit.

Drawn here, after the commitment has come and before anything is answered, from the operating system's random numbers;
the sync's statement compares. Nothing here reads or writes.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache

from django.conf import settings

from workunits.domain.audits.draws import (
    AuditRules,
    DrawRule,
    TrustWeights,
    decay,
    is_young,
    make_draw_rule,
    qualifying_weight,
)
from workunits.domain.audits.levels import AUDIT_FACTOR, LEVEL_NUMBER, VerificationLevel
from workunits.domain.audits.standing import Standing
from workunits.domain.eligibility import OpenBatch
from workunits.domain.places import PLACES
from workunits.domain.pricing import FLOPS_PER_GFLOP
from workunits.store.board import get_terms
from workunits.store.leases import BatchWish, CheckedCommitment, Draw
from workunits.store.vehicles import KnownVehicle, TrustRow

# A young vehicle is given audits only when nobody has taken them for this share of the time until an anchor does.
YOUNG_PATIENCE_SHARE = 1 / 16
# A car that calls earlier than this share of the pace gets audits as often as time has passed: who calls often must
# neither get more of them, nor know that what he is given so early is none.
EARLY_SHARE = 0.8
_random = secrets.SystemRandom()


def audit_rules() -> AuditRules:
    """Return the numbers of the rule, as the policy has them."""
    policy = settings.FLEET
    return _make_rules(policy.audit_friend_ratio, policy.audit_floor_ratio, policy.audit_model_factor)


@lru_cache(maxsize=4)
def _make_rules(friend_share: float, floor: float, model_factor: float) -> AuditRules:
    return AuditRules(friend_share=friend_share, floor=floor, model_factor=model_factor)


def draw_place() -> int:
    """Return a random place in the order in which units are leased."""
    return _random.randrange(PLACES)


@dataclass(frozen=True, kw_only=True, slots=True)
class Believed:
    """A vehicle's trust at the moment of one sync. `comparison_class` is the one that it states now.

    `gives_up`: this sync hands work back, which may be an audit.
    """

    vehicle: KnownVehicle
    comparison_class: str
    gives_up: bool = False
    now: datetime

    def weights(self, level: VerificationLevel, model_id: int) -> TrustWeights:
        """Return what the vehicle has been believed at a level, for a model."""
        number = LEVEL_NUMBER[level]
        return TrustWeights(
            level=self._weight(number, 0, ""),
            comparison_class=self._weight(number, 0, self.comparison_class),
            model=self._weight(number, model_id, self.comparison_class),
        )

    def rule(self, level: VerificationLevel, model_id: int) -> DrawRule:
        """Return the rule for its results of a model."""
        return make_draw_rule(
            level,
            self.weights(level, model_id),
            audit_rules(),
            is_watched=self.vehicle.standing is not Standing.NORMAL,
        )

    def draw_for(self, item: CheckedCommitment) -> CheckedCommitment:
        """Draw for a commitment, where its batch's level has audits. Raises BatchUnknown."""
        terms = get_terms(item.ref.batch_id)
        if terms.level not in AUDIT_FACTOR:
            return item
        draw = Draw(
            level=LEVEL_NUMBER[terms.level],
            model_id=terms.model_id,
            number=_random.random(),
            rule=self.rule(terms.level, terms.model_id),
        )
        return replace(item, draw=draw)

    def waiting_levels(self) -> frozenset[VerificationLevel]:
        """Return the levels at which more of its work waits for audits than it is believed for."""
        return frozenset(
            level
            for level in AUDIT_FACTOR
            if self.vehicle.unresolved.get(LEVEL_NUMBER[level], 0)
            > max(self._weight(LEVEL_NUMBER[level], 0, ""), _weight_of(settings.FLEET.unresolved_work_seconds))
        )

    def wish(self, batch: OpenBatch) -> BatchWish:
        """Return what the vehicle may be leased from a batch beside primary work."""
        new_units = self.vehicle.owner_id not in batch.capped_owner_ids
        if batch.level not in AUDIT_FACTOR:
            return BatchWish(batch_id=batch.batch_id, new_units=new_units)
        # From the start every other time: near the end of all places there are few.
        start = draw_place() if _random.random() < 1 / 2 else 0
        is_new = is_young(self.rule(batch.level, batch.model_id), batch.unit_weight)
        known = self._known_wanted(batch) if is_new else 0
        return BatchWish(
            batch_id=batch.batch_id,
            new_units=new_units,
            start=start,
            known=known,
            audits_by=self._audits_by(is_young=is_new),
            audits_max=max(1, int(_weight_of(settings.FLEET.audit_held_work_seconds) / max(1, batch.unit_weight))),
        )

    def _known_wanted(self, batch: OpenBatch) -> int:
        weights = self.weights(batch.level, batch.model_id)
        wanted = qualifying_weight(batch.level, batch.unit_weight, audit_rules())
        missing = wanted - min(weights.level, weights.comparison_class)
        held = sum(1 for key in self.vehicle.open_leases if key.batch_id == batch.batch_id)
        return max(0, math.ceil(missing / max(1, batch.unit_weight)) - held)

    def _audits_by(self, *, is_young: bool) -> datetime | None:
        policy = settings.FLEET
        pace_seconds = EARLY_SHARE * policy.sync_seconds_working * (1 - policy.sync_jitter_ratio)
        seen_at, rests_until = self.vehicle.last_seen_at, self.vehicle.audits_from
        if self.gives_up or (rests_until is not None and self.now < rests_until):
            return None
        if seen_at is not None and (self.now - seen_at).total_seconds() <= _random.random() * pace_seconds:
            return None
        waited_seconds = policy.audit_patience_seconds * YOUNG_PATIENCE_SHARE if is_young else 0.0
        return datetime.fromtimestamp(self.now.timestamp() - waited_seconds, tz=self.now.tzinfo)

    def _weight(self, level: int, model_id: int, comparison_class: str) -> float:
        row = _by_scope(self.vehicle.trust).get((level, model_id, comparison_class))
        if row is None:
            return 0.0
        unix = self.now.timestamp()
        return decay(
            row.weight,
            unix - row.weighed_at,
            idle_seconds=unix - row.last_commit_at,
            rules=audit_rules(),
        )


def _by_scope(rows: tuple[TrustRow, ...]) -> Mapping[tuple[int, int, str], TrustRow]:
    return {(row.level, row.model_id, row.comparison_class): row for row in rows}


def _weight_of(work_seconds: float) -> float:
    """Return what so much of the reference car's time weighs."""
    policy = settings.FLEET
    gflops = work_seconds * policy.reference_car_flops_per_second / FLOPS_PER_GFLOP
    return gflops * policy.microcredits_per_gflop
