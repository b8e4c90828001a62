"""Roles, lifetimes and paths of the repository. The client has its own copy of the paths: they are on the wire."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

ROOT: Final = "root"
TARGETS: Final = "targets"
SNAPSHOT: Final = "snapshot"
TIMESTAMP: Final = "timestamp"
# Not a role: how the content of a target is marked among the published files.
TARGET: Final = "target"
# The delegation that the admission service signs, and the hashed bins below it.
MODELS: Final = "models"
BIN_PREFIX: Final = "bin"
MODELS_PATTERN: Final = "models/*"

ONLINE_ROLES: Final = (MODELS, SNAPSHOT, TIMESTAMP)
OFFLINE_ROLES: Final = (ROOT, TARGETS)

CONFIG_TARGET: Final = "client/config.json"
CHANNELS_TARGET: Final = "client/channels.json"
RELEASE_PREFIX: Final = "client/"
# Cars ask for one of these; a release on another would reach nobody.
CHANNELS: Final = ("stable", "beta")

ROOT_LIFETIME: Final = timedelta(days=365)
TARGETS_LIFETIME: Final = timedelta(days=90)
# Signed again at half of it, so that a service that was down for days finds nothing expired.
MODELS_LIFETIME: Final = timedelta(days=60)
BIN_LIFETIME: Final = timedelta(days=30)
SNAPSHOT_LIFETIME: Final = timedelta(days=14)
# The fleet's stop switch: no car works for longer than this on an old word. Never more than 24 hours.
TIMESTAMP_LIFETIME: Final = timedelta(hours=12)
TIMESTAMP_LIFETIME_MAX: Final = timedelta(hours=24)
TIMESTAMP_PERIOD: Final = timedelta(hours=1)
# What a stopped fleet is given to hear of it, so that cars can tell "stopped" from a broken repository.
STOP_GRACE: Final = timedelta(seconds=30)

BIN_BITS: Final = 8
BIN_BITS_MAX: Final = 14
THRESHOLD: Final = 2


def model_path(sha256: str) -> str:
    """Return the target path of a model."""
    return f"models/{sha256}"


def file_name(role: str, version: int) -> str:
    """Return the name under which a role's metadata is served (consistent snapshots)."""
    return f"{TIMESTAMP}.json" if role == TIMESTAMP else f"{version}.{role}.json"


def target_name(path: str, sha256: str) -> str:
    """Return the name under which a target's content is served: its hash comes before its own name."""
    folder, _, name = path.rpartition("/")
    return f"targets/{folder}/{sha256}.{name}"
