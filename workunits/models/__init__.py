"""Tables and their constraints.

The partitioned hot tables are made by SQL (`workunits/sql/schema/`) and read here through views.
"""

from __future__ import annotations

from workunits.models.accounts import ApiKey, Owner, Project, User
from workunits.models.anchors import AnchorMachine, AnchorRun
from workunits.models.batches import Batch, BatchProgress, Shard
from workunits.models.catalog import Blob, Dataset, OnnxModel
from workunits.models.ledger import Account, AccountBalance, Transfer
from workunits.models.parties import ClusterEdge, OwnerCluster, OwnerNetwork
from workunits.models.trust import AdmissionLogEntry, ModelAdmission, TrustFile, TrustOrder
from workunits.models.units import EarningItem, Replica, Unit, UnitEvent
from workunits.models.vehicles import DevicePairing, Vehicle, VehiclePresence
from workunits.models.verification import (
    Audit,
    BatchNotice,
    EarningOutcome,
    ModelTolerance,
    Revocation,
    TrustEvent,
    VehicleCommit,
    VehicleStanding,
    VehicleTrust,
)

__all__ = [
    "Account",
    "AccountBalance",
    "AdmissionLogEntry",
    "AnchorMachine",
    "AnchorRun",
    "ApiKey",
    "Audit",
    "Batch",
    "BatchNotice",
    "BatchProgress",
    "Blob",
    "ClusterEdge",
    "Dataset",
    "DevicePairing",
    "EarningItem",
    "EarningOutcome",
    "ModelAdmission",
    "ModelTolerance",
    "OnnxModel",
    "Owner",
    "OwnerCluster",
    "OwnerNetwork",
    "Project",
    "Replica",
    "Revocation",
    "Shard",
    "Transfer",
    "TrustEvent",
    "TrustFile",
    "TrustOrder",
    "Unit",
    "UnitEvent",
    "User",
    "Vehicle",
    "VehicleCommit",
    "VehiclePresence",
    "VehicleStanding",
    "VehicleTrust",
]
