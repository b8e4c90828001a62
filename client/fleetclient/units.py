"""A unit on this car: a leased replica and how far it has come.

States: `HELD` -> `FINISHED` -> `UPLOADING` -> gone; `HELD` -> `RETURNING` -> gone. "Running" is not a state: what the
runner had not finished when the power went is simply still held, and is run again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fleetclient.wire import Contract, HandBack, Lease


class UnitState(StrEnum):
    """Where a unit stands in the journal."""

    HELD = "held"  # leased; put in by a sync's answer, taken out by a result, a hand-back or a cancellation
    FINISHED = "finished"  # its output is on disk; taken out when the server says `stored`, kept when it says `keep`
    UPLOADING = "uploading"  # the server asked for the bytes; taken out when it has them all
    RETURNING = "returning"  # given up; taken out when the server has heard of it


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What is known of an output: its salted digest, its size, the processor seconds it took, and its sketch.

    `sketch` is empty where the output is small enough to travel whole.
    """

    digest: str
    output_bytes: int
    cpu_seconds: float
    sketch: bytes = b""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """One row of the journal. `deadline_at` is on the boot clock; None when leased before the last boot.

    `kept_at`: Unix seconds when the server first had us keep the output, None while it has not.
    """

    sequence: int
    lease: Lease
    state: UnitState
    leased_at: float
    deadline_at: float | None
    result: Result | None = None
    hand_back: HandBack | None = None
    kept_at: float | None = None

    @property
    def token(self) -> str:
        """The replica token, which also names the unit's files."""
        return self.lease.token

    @property
    def contract(self) -> Contract:
        """What to run, and within which limits."""
        return self.lease.contract
