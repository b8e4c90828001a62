"""States of batches, work units and replicas, and the moves that are allowed between them.

Each member's comment says who puts a row there and who takes it out. SQL guards every move with the table's
`from` states; zero rows changed means that another worker won, and is expected.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class BatchStatus(StrEnum):
    """The life of a batch, as a researcher sees it."""

    VALIDATING = "validating"  # submitted; intake is checking it
    QUEUED = "queued"  # accepted; split has not finished
    IN_PROGRESS = "in_progress"  # units are leasable
    PAUSED = "paused"  # by the researcher or an operator; nothing new is leased
    FINALIZING = "finalizing"  # every unit is decided; assemble writes the result
    COMPLETED = "completed"  # the result is there; see the outcome
    FAILED = "failed"  # nothing could be delivered
    CANCELLING = "cancelling"  # cancel was asked for; recover ends open units
    CANCELLED = "cancelled"
    EXPIRED = "expired"  # the deadline passed


class BatchOutcome(StrEnum):
    """What a batch that ended delivered."""

    FULL = "full"
    PARTIAL = "partial"
    NONE = "none"


class UnitState(StrEnum):
    """The life of a work unit."""

    OPEN = "OPEN"  # split creates it; validate decides it
    VALIDATED = "VALIDATED"  # validate: enough outputs agree; assemble takes it
    ASSEMBLED = "ASSEMBLED"  # assemble: its rows are in the result file
    FAILED = "FAILED"  # validate: errors or disagreement reached their named maximum
    CANCELLED = "CANCELLED"  # recover: the batch was cancelled or expired


class ReplicaState(StrEnum):
    """The life of a replica, from its lease on."""

    LEASED = "LEASED"  # dispatch creates it so
    COMMITTED = "COMMITTED"  # dispatch: the car's signed digest is here, the bytes are not yet
    REPORTED = "REPORTED"  # dispatch (inline) or upload: the bytes are here, checked against the digest
    VALID = "VALID"  # validate: it agrees with the canonical output; paid
    INVALID = "INVALID"  # validate: it differs by more than four times the tolerance
    INCONCLUSIVE = "INCONCLUSIVE"  # validate: neither; nobody is blamed, nobody is paid
    RETURNED = "RETURNED"  # dispatch: handed back without blame
    ERRORED = "ERRORED"  # dispatch: the car could not run it
    EXPIRED = "EXPIRED"  # recover: the deadline passed
    CANCELLED = "CANCELLED"  # validate or recover: no longer needed
    REVOKED = "REVOKED"  # trust: a later audit took the verdict back


UNIT_MOVES: Final[dict[UnitState, frozenset[UnitState]]] = {
    UnitState.OPEN: frozenset({UnitState.VALIDATED, UnitState.FAILED, UnitState.CANCELLED}),
    UnitState.VALIDATED: frozenset({UnitState.ASSEMBLED, UnitState.OPEN}),
    UnitState.ASSEMBLED: frozenset({UnitState.OPEN}),
    UnitState.FAILED: frozenset(),
    UnitState.CANCELLED: frozenset(),
}

REPLICA_MOVES: Final[dict[ReplicaState, frozenset[ReplicaState]]] = {
    ReplicaState.LEASED: frozenset(
        {
            ReplicaState.COMMITTED,
            ReplicaState.REPORTED,
            ReplicaState.RETURNED,
            ReplicaState.ERRORED,
            ReplicaState.EXPIRED,
            ReplicaState.CANCELLED,
        }
    ),
    ReplicaState.COMMITTED: frozenset(
        {
            ReplicaState.REPORTED,
            ReplicaState.VALID,  # a re-run that agrees by digest or sketch never sends its bytes
            ReplicaState.RETURNED,
            ReplicaState.ERRORED,
            ReplicaState.EXPIRED,
            ReplicaState.CANCELLED,
        }
    ),
    ReplicaState.REPORTED: frozenset(
        {ReplicaState.VALID, ReplicaState.INVALID, ReplicaState.INCONCLUSIVE, ReplicaState.CANCELLED}
    ),
    ReplicaState.VALID: frozenset({ReplicaState.REVOKED}),
    ReplicaState.INVALID: frozenset(),
    # A third output can settle what two could not.
    ReplicaState.INCONCLUSIVE: frozenset(),
    # The same owner may be given a unit again that he handed back or let lapse, when no other owner took it:
    # the row is leased again with the next attempt number, so that he still holds one replica of it.
    ReplicaState.RETURNED: frozenset({ReplicaState.LEASED}),
    ReplicaState.EXPIRED: frozenset({ReplicaState.LEASED}),
    ReplicaState.ERRORED: frozenset(),
    ReplicaState.CANCELLED: frozenset(),
    ReplicaState.REVOKED: frozenset(),
}

LIVE_REPLICA_STATES: Final = (ReplicaState.LEASED, ReplicaState.COMMITTED)
REPORTED_REPLICA_STATES: Final = (
    ReplicaState.REPORTED,
    ReplicaState.VALID,
    ReplicaState.INVALID,
    ReplicaState.INCONCLUSIVE,
    ReplicaState.REVOKED,
)
RELEASABLE_REPLICA_STATES: Final = (ReplicaState.RETURNED, ReplicaState.EXPIRED)
BATCH_TERMINAL: Final = (
    BatchStatus.COMPLETED,
    BatchStatus.FAILED,
    BatchStatus.CANCELLED,
    BatchStatus.EXPIRED,
)
