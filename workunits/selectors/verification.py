"""How sure a batch is of its results, in numbers: level and bound, audits, rows that are final, what was taken back.

The bound is an expectation over the fleet, by weight. It says nothing of one batch, and nothing of provisional rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Final

from django.conf import settings
from django.db.models import Count, F, IntegerField, Window
from django.db.models.functions import Coalesce, RowNumber

from workunits.domain.audits.draws import AuditRules, factor_without_anchors
from workunits.domain.audits.levels import AUDIT_FACTOR, VerificationLevel, premium_ppm
from workunits.domain.audits.sequence import AuditState
from workunits.domain.states import BatchStatus
from workunits.models import AnchorRun, Audit, Batch, BatchNotice, Owner
from workunits.store.anchors import is_anchor_alive
from workunits.store.clusters import list_active_clusters
from workunits.store.db import fetch_all

# Replication is measured on so many units of a batch: its standard error is then below a hundredth.
UNITS_SAMPLED: Final = 2048
NOTICES_SHOWN: Final = 20
# Rows about the other side of an audit and about known answers judge other vehicles, not this batch's results.
_ABOUT_OTHERS: Final = (Audit.Reason.AUDITING.value, Audit.Reason.KNOWN.value)
# In these states a batch has units without a result that cars may get.
_NEEDS_CARS: Final = (BatchStatus.VALIDATING, BatchStatus.QUEUED, BatchStatus.IN_PROGRESS)
# Who polls a batch must not have every heartbeat looked at each time.
AT_WORK_SECONDS: Final = 30
# Five are needed at most, besides those of a batch's own researchers.
PARTIES_READ: Final = 100


class WeakerBecause(StrEnum):
    """Why the bound of a batch is weaker than its level's."""

    AUDITED_BY_CARS = "audited_by_cars"  # an anchor should have run some results again, and cars did
    NO_ANCHOR = "no_anchor"  # there is none now, and results are still to come or to become final


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditCounts:
    """Audits of a batch's results. `run` are those that came to an end: passed, failed and inconclusive."""

    run: int = 0
    open: int = 0
    passed: int = 0
    failed: int = 0
    inconclusive: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class RowFinality:
    """Rows with a result: provisional and final ones. `revoked` counts how often a row was taken back so far."""

    provisional: int
    final: int
    revoked: int


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchVerification:
    """The numbers of a batch.

    Attributes:
        audit_factor: c; None at levels without audits.
        factor_held: what the bound is computed with: c, or less where cars instead of anchors run the first results of
            a vehicle's life again, for a car may be a friend's.
        weaker_because: why it is less; None where it is not.
        expected_wrong_share: f / `factor_held`; None at levels without audits.
        replication: executions for each unit with a result, re-runs included; None where there is none yet.
        parties_needed: from how many clusters of owners cars have to come before a row can have a final result.
        parties_missing: of how many no car may work now, its researchers' own cars not counted at levels with audits;
            None where the batch needs no cars.
        premium: what the level costs beside the pay of its results, as a share of it.
    """

    level: VerificationLevel
    audit_factor: float | None
    factor_held: float | None
    weaker_because: WeakerBecause | None
    adversarial_share: float
    expected_wrong_share: float | None
    audits: AuditCounts
    anchor_runs: int
    replication: float | None
    rows: RowFinality
    parties_needed: int
    parties_missing: int | None
    premium: float
    notices: list[BatchNotice] = field(default_factory=list)


def get_verification(batch: Batch, *, now: datetime) -> BatchVerification:
    """Return the numbers of one batch; its `progress` is read."""
    return list_verifications([batch], now=now)[batch.pk]


def list_verifications(batches: Sequence[Batch], *, now: datetime) -> dict[int, BatchVerification]:
    """Return the numbers of these batches; at most seven statements for all."""
    ids = [batch.pk for batch in batches]
    audits, unanchored = _count_audits(ids)
    runs = dict(
        AnchorRun.objects.filter(batch_id__in=ids, state=AnchorRun.State.DONE)
        .order_by()
        .values_list("batch_id")
        .annotate(Count("id"))
    )
    replications, notices = _measure_replication(ids), _list_notices(ids)
    rules, has_anchor = AuditRules(friend_share=settings.FLEET.audit_friend_ratio), is_anchor_alive(now)
    at_work = _count_at_work([batch for batch in batches if _needs_cars(batch)], now)
    found = {}
    for batch in batches:
        level = VerificationLevel(batch.level)
        factor = AUDIT_FACTOR.get(level)
        needed = _count_parties(level, batch.quorum, has_anchor=has_anchor)
        cause = _find_cause(batch, is_unanchored=batch.pk in unanchored, has_anchor=has_anchor)
        held = factor_without_anchors(level, rules) if factor is not None and cause is not None else factor
        found[batch.pk] = BatchVerification(
            level=level,
            audit_factor=factor,
            factor_held=held,
            weaker_because=None if held == factor else cause,
            adversarial_share=batch.adversarial_share,
            expected_wrong_share=None if held is None else batch.adversarial_share / held,
            audits=audits.get(batch.pk, AuditCounts()),
            anchor_runs=runs.get(batch.pk, 0),
            replication=replications.get(batch.pk),
            rows=count_finality(batch),
            parties_needed=needed,
            parties_missing=max(0, needed - at_work[batch.pk]) if batch.pk in at_work else None,
            premium=premium_ppm(level) / 1_000_000,
            notices=notices.get(batch.pk, []),
        )
    return found


def _find_cause(batch: Batch, *, is_unanchored: bool, has_anchor: bool) -> WeakerBecause | None:
    if is_unanchored:
        return WeakerBecause.AUDITED_BY_CARS
    is_settled = batch.ended_at is not None and batch.progress.rows_final == batch.progress.rows_validated
    return None if has_anchor or is_settled else WeakerBecause.NO_ANCHOR


def _needs_cars(batch: Batch) -> bool:
    if batch.status == BatchStatus.FINALIZING and VerificationLevel(batch.level) in AUDIT_FACTOR:
        return batch.progress.rows_final < batch.progress.rows_validated
    return batch.status in _NEEDS_CARS


def _count_at_work(batches: Sequence[Batch], now: datetime) -> dict[int, int]:
    """Return for each batch how many clusters have cars that may work on it now."""
    if not batches:
        return {}
    active = _list_at_work(int(now.timestamp()) // AT_WORK_SECONDS)
    audited = [batch for batch in batches if VerificationLevel(batch.level) in AUDIT_FACTOR]
    own = _list_own_clusters({batch.project_id for batch in audited})
    return {batch.pk: len(active - own[batch.project_id] if batch in audited else active) for batch in batches}


def _list_own_clusters(projects: Collection[int]) -> dict[int, set[int]]:
    """Return for each project the clusters of its members: their cars get nothing of its batches with audits."""
    own: dict[int, set[int]] = defaultdict(set)
    if projects:
        members = Owner.objects.filter(user__projects__in=projects)
        rows = members.values_list("user__projects", Coalesce("cluster__cluster_id", "pk", output_field=IntegerField()))
        for project_id, cluster_id in rows:
            own[project_id].add(cluster_id)
    return own


@lru_cache(maxsize=1)
def _list_at_work(period: int) -> frozenset[int]:
    return list_active_clusters(datetime.fromtimestamp(period * AT_WORK_SECONDS, UTC), clusters_max=PARTIES_READ)


def forget_parties() -> None:
    """Let this process count anew who is at work."""
    _list_at_work.cache_clear()


def _count_parties(level: VerificationLevel, quorum: int, *, has_anchor: bool) -> int:
    """Return from how many clusters a row's outputs have to come: those that agree, or a result and its audit."""
    if level in AUDIT_FACTOR:
        return 1 if has_anchor else 2
    return quorum


def count_finality(batch: Batch) -> RowFinality:
    """Return how many of the batch's rows are provisional and final; the two sum to those that succeeded."""
    progress = batch.progress
    return RowFinality(
        provisional=progress.rows_validated - progress.rows_final,
        final=progress.rows_final,
        revoked=progress.rows_revoked,
    )


def _count_audits(batch_ids: Sequence[int]) -> tuple[dict[int, AuditCounts], set[int]]:
    """Return the counts, and which batches have results that an anchor should have run again and a car did."""
    counts: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    unanchored: set[int] = set()
    rows = (
        Audit.objects.filter(batch_id__in=batch_ids)
        .exclude(reason__in=_ABOUT_OTHERS)
        .order_by()
        .values_list("batch_id", "state", "reason", "needs")
        .annotate(Count("id"))
    )
    for batch_id, state, reason, needs, count in rows:
        counts[batch_id][state] += count
        if reason == Audit.Reason.YOUNG and needs != Audit.Needs.ANCHOR and state != AuditState.VOID:
            unanchored.add(batch_id)
    return {batch_id: _as_counts(by_state) for batch_id, by_state in counts.items()}, unanchored


def _as_counts(by_state: dict[str, int]) -> AuditCounts:
    ended = (by_state[AuditState.PASSED], by_state[AuditState.FAILED], by_state[AuditState.INCONCLUSIVE])
    passed, failed, inconclusive = ended
    return AuditCounts(
        run=sum(ended), open=by_state[AuditState.OPEN], passed=passed, failed=failed, inconclusive=inconclusive
    )


def _measure_replication(batch_ids: Sequence[int]) -> dict[int, float]:
    rows = fetch_all("count_executions", {"batches": list(batch_ids), "units_max": UNITS_SAMPLED})
    return {batch_id: executions / units for batch_id, units, executions in rows if units}


def _list_notices(batch_ids: Sequence[int]) -> dict[int, list[BatchNotice]]:
    newest = Window(RowNumber(), partition_by=F("batch_id"), order_by=[F("at").desc(), F("id").desc()])
    numbered = BatchNotice.objects.filter(batch_id__in=batch_ids).annotate(place=newest)
    found: dict[int, list[BatchNotice]] = defaultdict(list)
    for notice in numbered.filter(place__lte=NOTICES_SHOWN).order_by("batch_id", "-at", "-id"):
        found[notice.batch_id].append(notice)
    return found
