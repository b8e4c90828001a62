"""What becomes of a work unit, given all its replicas: the rule of validation, free of arrival order.

In: a unit's state and its replicas' states and digests. Out: one `Judgement`: decided, failed, or how many more
replicas it needs. Comparing outputs is `comparison`'s business; here it is a function handed in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from workunits.domain.states import LIVE_REPLICA_STATES, ReplicaState


class ReplicaView(NamedTuple):
    """A replica as the rules see it. `digest` is SHA-256 of its output as we computed it, once the bytes are here.

    What follows `reason` is read by the rule for levels with audits; commitment and sketch only of re-runs.
    """

    owner_id: int
    state: str
    attempt: int = 1
    digest: bytes | None = None
    reason: str = ""
    vehicle_id: int = 0
    role: int = 0
    weight: int = 0
    sequence: int | None = None
    drawn: bool = False
    young: bool = False
    comparison_class: str = ""
    bytes_wanted: bool = False
    commitment: bytes | None = None
    sketch: bytes | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryLimits:
    """When to stop trying. Each is a count within one unit."""

    errors_max: int
    expiries_max: int
    outputs_max: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """The outcome of comparing outputs: who agrees with the canonical one, who clearly does not, who is in between."""

    canonical_owner_id: int
    valid: tuple[int, ...]
    invalid: tuple[int, ...] = ()
    inconclusive: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """What to do with a unit. Exactly one of `agreement`, `failure`, or neither (then `needed` says how many more)."""

    agreement: Agreement | None = None
    failure: str = ""
    needed: int = 0
    cancelled: tuple[int, ...] = field(default=())


Compare = Callable[[Sequence[ReplicaView], int], Agreement | None]


def judge_unit(replicas: Sequence[ReplicaView], *, quorum: int, limits: RetryLimits, compare: Compare) -> Judgement:
    """Return what becomes of an open unit.

    `compare(reported, quorum)` is asked only once enough outputs are here; it returns None where no `quorum` of them
    agree, and then one more replica is asked for, until `limits.outputs_max`.
    """
    ordered = sorted(replicas, key=lambda replica: replica.owner_id)
    reported = [replica for replica in ordered if replica.state == ReplicaState.REPORTED]
    live = tuple(replica.owner_id for replica in ordered if replica.state in LIVE_REPLICA_STATES)
    if len(reported) >= quorum:
        agreement = compare(reported, quorum)
        if agreement is not None:
            return Judgement(agreement=agreement, cancelled=live)
    failure = _failure(ordered, reported, quorum, limits)
    if failure:
        return Judgement(failure=failure, cancelled=live)
    target = quorum if len(reported) < quorum else len(reported) + 1
    return Judgement(needed=max(0, target - len(reported) - len(live)))


def _failure(replicas: Sequence[ReplicaView], reported: Sequence[ReplicaView], quorum: int, limits: RetryLimits) -> str:
    errors = [replica for replica in replicas if replica.state == ReplicaState.ERRORED]
    if len(errors) >= limits.errors_max:
        reasons = Counter(replica.reason or "error" for replica in errors)
        listed = ", ".join(f"{reason} ({count})" for reason, count in sorted(reasons.items()))
        return f"{len(errors)} vehicles could not run it: {listed}"
    expiries = sum(replica.attempt for replica in replicas if replica.state == ReplicaState.EXPIRED)
    if expiries >= limits.expiries_max:
        return f"{expiries} leases expired without a result"
    if len(reported) >= max(limits.outputs_max, quorum):
        return f"no {quorum} of {len(reported)} outputs agree"
    return ""


def agree_on_digest(reported: Sequence[ReplicaView]) -> Agreement | None:
    """Return the agreement of outputs that are all equal to the last bit; the usual case, decided without any bytes."""
    if len({replica.digest for replica in reported}) != 1:
        return None
    owners = tuple(replica.owner_id for replica in reported)
    return Agreement(canonical_owner_id=min(owners), valid=owners)
