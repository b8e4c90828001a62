"""One sync from the journal's point of view: what to say, and what the answer changes.

Journal moves here: nothing -> HELD (leases), FINISHED -> kept or UPLOADING, anything -> gone (settled or cancelled).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fleetclient.failpoints import fail_point
from fleetclient.journal import Journal
from fleetclient.logs import Log
from fleetclient.spool import Spool
from fleetclient.units import Unit, UnitState
from fleetclient.vehicle.source import VehicleState
from fleetclient.wire import AgentInfo, Capacity, Commitment, SyncAnswer, SyncRequest

COMMITMENTS_PER_SYNC_MAX = 64
MODELS_PER_SYNC_MAX = 100
INLINE_BYTES_PER_SYNC_MAX = 1024 * 1024

# The server will never store these results: keeping them would offer them for ever.
FINAL_REFUSALS = frozenset(
    {
        "replica_unknown",
        "replica_not_yours",
        "lease_expired",
        "replica_ended",
        "output_digest_mismatch",
        "output_malformed",
        "output_too_large",
        "malformed_request",
    }
)


def build_sync(
    *,
    journal: Journal,
    spool: Spool,
    agent: AgentInfo,
    state: VehicleState,
    capacity: Capacity,
    models: Sequence[str],
    commitments_max: int = COMMITMENTS_PER_SYNC_MAX,
    kept: Sequence[str] = (),
    clock_skew_seconds: float | None = None,
) -> SyncRequest:
    """Return what the car has to say now. Every unit in the journal is mentioned exactly once.

    `models` are the cached ones, most recently used first. `kept`: which of the results that the server has us keep
    are offered again now, after the others; the rest is mentioned as held.
    """
    offered = _list_offered(_in_turn(journal.list_units(UnitState.FINISHED), kept), commitments_max)
    returning = journal.list_units(UnitState.RETURNING)
    mentioned = {unit.token for unit in (*offered, *returning)}
    return SyncRequest(
        agent=agent,
        eligible=state.eligible,
        reasons=state.reasons,
        capacity=capacity,
        models=tuple(models[:MODELS_PER_SYNC_MAX]),
        held=tuple(unit.token for unit in journal.list_units() if unit.token not in mentioned),
        commitments=tuple(_commitment(unit, spool) for unit in offered),
        returned=tuple(unit.hand_back for unit in returning if unit.hand_back is not None),
        clock_skew_seconds=clock_skew_seconds,
    )


@dataclass
class Changes:
    """What an answer changed, for the loop to act on."""

    answer: SyncAnswer
    leased: list[Unit] = field(default_factory=list)
    stored: list[str] = field(default_factory=list)
    to_upload: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    surplus: list[tuple[Unit, str]] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)


def apply_answer(answer: SyncAnswer, *, journal: Journal, now: float, now_unix: float) -> Changes:
    """Write an answer into the journal and return what changed. Applying it twice changes nothing more.

    `now` is on the boot clock.

    The journal may have moved on since the request was built: an outcome that no longer fits its unit is ignored, and
    the next sync brings another.
    """
    fail_point("sync_answered")
    changes = Changes(answer=answer)
    settled: list[str] = []
    for outcome in answer.outcomes:
        unit = journal.get(outcome.token)
        if unit is None or unit.state is UnitState.HELD:
            continue
        if unit.state is UnitState.RETURNING:
            settled.append(unit.token)
        elif outcome.code == "upload":
            if journal.start_upload(unit.token):
                fail_point("upload_journaled")
                changes.to_upload.append(unit.token)
        elif outcome.code == "stored":
            changes.stored.append(unit.token)
        elif outcome.code == "keep":
            journal.keep(unit.token, now_unix=now_unix)
            fail_point("keep_journaled")
            changes.kept.append(unit.token)
        elif outcome.code in FINAL_REFUSALS:
            changes.refused[unit.token] = outcome.code
    changes.cancelled = [token for token in answer.cancelled if journal.get(token) is not None]
    journal.forget([*settled, *changes.stored, *changes.refused, *changes.cancelled])
    fail_point("settled_journaled")
    changes.leased = journal.add_leases(answer.leases, now=now)
    fail_point("leases_journaled")
    return changes


def log_changes(changes: Changes, log: Log) -> None:
    """Write one line for each thing that happened."""
    for unit in changes.leased:
        log.info("leased", token=unit.token, rows=unit.lease.rows, deadline_seconds=unit.lease.deadline_seconds)
    for token in changes.stored:
        log.info("stored", token=token)
    for token, code in changes.refused.items():
        log.warning("refused", token=token, code=code)
    for token in changes.cancelled:
        log.info("cancelled", token=token)


def _in_turn(finished: list[Unit], kept: Sequence[str]) -> list[Unit]:
    known = {unit.token: unit for unit in finished}
    return [*(unit for unit in finished if unit.kept_at is None), *(known[token] for token in kept if token in known)]


def _list_offered(finished: list[Unit], commitments_max: int) -> list[Unit]:
    offered: list[Unit] = []
    inline_bytes = 0
    for unit in finished[:commitments_max]:
        inline_bytes += _inline_bytes(unit)
        if offered and inline_bytes > INLINE_BYTES_PER_SYNC_MAX:
            break
        offered.append(unit)
    return offered


def _inline_bytes(unit: Unit) -> int:
    size = unit.result.output_bytes if unit.result else 0
    return size if size <= unit.contract.limits.inline_bytes_max else 0


def _commitment(unit: Unit, spool: Spool) -> Commitment:
    result = unit.result
    if result is None:  # a CHECK in the journal rules it out
        raise ValueError(f"a finished unit without a result: {unit.token}")
    return Commitment(
        token=unit.token,
        digest=result.digest,
        bytes=result.output_bytes,
        seconds=result.cpu_seconds,
        inline=spool.output_path(unit.token).read_bytes() if _inline_bytes(unit) else None,
        sketch=result.sketch or None,
    )
