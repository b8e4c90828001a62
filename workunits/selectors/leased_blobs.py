"""Whether a vehicle may read a blob: only while a live lease of its names it, as its model or its input."""

from __future__ import annotations

from workunits.store.db import fetch_one
from workunits.store.vehicles import KnownVehicle


def is_blob_leased(*, vehicle: KnownVehicle, sha256: str) -> bool:
    """Return whether one of the vehicle's open leases is of a batch with this model, or of a unit in this shard."""
    if not vehicle.open_leases:
        return False
    row = fetch_one(
        "is_blob_leased",
        {
            "vehicle_id": vehicle.vehicle_id,
            "owner_id": vehicle.owner_id,
            "batches": [key.batch_id for key in vehicle.open_leases],
            "units": [key.unit_number for key in vehicle.open_leases],
            "sha256": sha256,
        },
    )
    return row is not None
