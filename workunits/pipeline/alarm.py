"""Alarm: models that are judged wrong for everybody, by a fault in a runtime, a tolerance or an anchor; and audits that
nobody settles.

In: settled audits. Moves: batch IN_PROGRESS -> PAUSED, with a reason; a vehicle's trust and standing back to what a
reset took. The results stay revoked and are run again. Who could bring it about is the rule's concern
(`domain.audits.alarm`); operators read of every alarm in the log and in the batches' notices. An audit that stays open
holds up all that its vehicle did later, and where no anchor can run a model nobody is blamed for lying about it:
operators read of both in the log for as long as it is so.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final

from django.conf import settings
from django.db import transaction

from workunits.domain.audits.alarm import AlarmRules, ModelAudit, find_faulty_classes
from workunits.domain.audits.draws import qualifying_weight
from workunits.domain.audits.fold import Scope
from workunits.domain.audits.levels import AUDIT_FACTOR, LEVEL_NUMBER
from workunits.pipeline.draws import audit_rules
from workunits.store.alarms import (
    Reset,
    SettledAudit,
    count_waiting_runs,
    find_stuck_audits,
    list_model_audits,
    list_models_in_doubt,
    list_models_not_run,
    list_resets,
    pause_model,
    pause_newcomers,
    roll_back,
)
from workunits.store.anchors import is_anchor_alive

log = logging.getLogger(__name__)

WINDOW: Final = timedelta(days=7)
AUDITS_MAX: Final = 5_000
# Cars settle an audit within hours, and an anchor what they leave; one that is open for longer is stuck.
OPEN_MAX: Final = timedelta(days=1)
# For so long operators are told of a unit that no anchor could run.
NOT_RUN_TOLD: Final = timedelta(hours=1)
_LEVEL_OF: Final = {LEVEL_NUMBER[level]: level for level in AUDIT_FACTOR}


def watch_models(*, now: datetime) -> int:
    """Pause every model that is judged wrong whoever runs it, and take back its penalties; return how many models.

    So are batches of it that begin within a week: its cars would lose by them what cannot be given back twice. A crash
    in between leaves the alarm standing, and what was given back is not given back again.
    """
    policy, since, alarms = settings.FLEET, now - WINDOW, 0
    rules = AlarmRules(audits=policy.mismatch_alarm_audits, failed_share=policy.mismatch_alarm_ratio)
    for model_id in list_models_in_doubt(since=since, vehicles_min=rules.clusters):
        audits = list_model_audits(model_id, since=since, audits_max=AUDITS_MAX)
        resets = list_resets([audit.vehicle_id for audit in audits if audit.has_failed], since=since)
        faulty = find_faulty_classes([_as_seen(audit, resets) for audit in audits], rules)
        if faulty:
            _raise_alarm(model_id, faulty, [a for a in audits if a.has_failed], resets, now)
            alarms += 1
    with transaction.atomic():
        pause_newcomers(since=since, now=now)
    return alarms


def watch_audits(*, now: datetime) -> int:
    """Tell operators of audits and runs that wait in vain and of models that no anchor can run; return how many.

    A run may wait without an audit, for an answer of a car that differs from a known one: it holds up that car as well.
    """
    stuck = find_stuck_audits(opened_before=now - OPEN_MAX)
    waiting = count_waiting_runs(ordered_before=now - OPEN_MAX)
    if stuck is not None:
        log.error(
            "%s audits are open for more than a day and hold up what their vehicles did later;"
            " the oldest, of unit %s of batch %s, since %s",
            stuck.audits,
            stuck.unit_number,
            stuck.batch_id,
            stuck.since.isoformat(),
        )
    if waiting:
        whether = "one is there" if is_anchor_alive(now) else "none is there"
        log.error("%s units wait for an anchor for more than a day: %s", waiting, whether)
    not_run = list_models_not_run(since=now - NOT_RUN_TOLD)
    for model in not_run:
        log.error(
            "no anchor could run %s units of model %s, so nobody is blamed for wrong results of them: %s",
            model.units,
            model.model_id,
            model.error,
        )
    return len(not_run) + waiting + (0 if stuck is None else stuck.audits)


def _as_seen(audit: SettledAudit, resets: Mapping[tuple[int, datetime], Reset]) -> ModelAudit:
    return ModelAudit(audit.cluster_id, audit.comparison_class, audit.has_failed, _was_believed(audit, resets))


def _was_believed(audit: SettledAudit, resets: Mapping[tuple[int, datetime], Reset]) -> bool:
    reset = None if audit.settled_at is None else resets.get((audit.vehicle_id, audit.settled_at))
    if reset is None:
        return False
    weight = reset.weights.get(Scope(audit.level, comparison_class=audit.comparison_class), 0)
    return weight >= qualifying_weight(_LEVEL_OF[audit.level], audit.weight, audit_rules())


def _raise_alarm(
    model_id: int,
    faulty: frozenset[str],
    failed: Sequence[SettledAudit],
    resets: Mapping[tuple[int, datetime], Reset],
    now: datetime,
) -> None:
    keys = {(audit.vehicle_id, audit.settled_at) for audit in failed if audit.comparison_class in faulty}
    undone = sorted(reset for key, reset in resets.items() if key in keys)
    restored = 0
    for _, of_vehicle in groupby(undone, key=lambda reset: reset.vehicle_id):
        with transaction.atomic():
            restored += roll_back(
                list(of_vehicle),
                model_id=model_id,
                classes=faulty,
                reason="a model's results were judged wrong whoever computed them",
                rules=audit_rules(),
                now=now,
            )
    names = ", ".join(sorted(faulty))
    reason = f"Paused: in {names}, results of this model are judged wrong whoever computes them."[:300]
    with transaction.atomic():
        paused = pause_model(model_id, reason=reason, lost_in={audit.batch_id for audit in failed}, now=now)
    log.error(
        "model %s is judged wrong in %s: %s batches paused, %s vehicles trusted again",
        model_id,
        names,
        paused,
        restored,
    )
