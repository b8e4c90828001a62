"""What a replica is for, and what can be wrong with one that a car speaks of."""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar, Final

from workunits.domain.errors import FleetError

# An anchor's output lies beside the cars' own, as a replica of this owner and this vehicle.
ANCHOR_OWNER_ID: Final = 0
ANCHOR_VEHICLE_ID: Final = 0


class ReplicaRole(IntEnum):
    """Why a unit is run. No car is ever told; all roles look, take and pay the same."""

    PRIMARY = 0
    AUDIT = 1  # of a result that is believed already
    KNOWN = 2  # of a unit whose answer was confirmed: a young vehicle is tried


class ReplicaNotYours(FleetError):
    """The replica is leased to another vehicle."""

    code: ClassVar[str] = "replica_not_yours"


class LeaseExpired(FleetError):
    """The lease ended before this; the unit went to another vehicle."""

    code: ClassVar[str] = "lease_expired"


class ReplicaEnded(FleetError):
    """The replica was returned, errored or cancelled already."""

    code: ClassVar[str] = "replica_ended"
