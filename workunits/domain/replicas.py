"""What can be wrong with a replica that a car speaks of."""

from __future__ import annotations

from typing import ClassVar

from workunits.domain.errors import FleetError


class ReplicaNotYours(FleetError):
    """The replica is leased to another vehicle."""

    code: ClassVar[str] = "replica_not_yours"


class LeaseExpired(FleetError):
    """The lease ended before this; the unit went to another vehicle."""

    code: ClassVar[str] = "lease_expired"


class ReplicaEnded(FleetError):
    """The replica was returned, errored or cancelled already."""

    code: ClassVar[str] = "replica_ended"
