"""Public ids: a prefix that says what it is, and 26 characters that sort by time and reveal nothing else."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from django.db import models

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32


def make_public_id(prefix: str) -> str:
    """Return e.g. `bat_01JDXM…`: 48 bits of milliseconds and 80 random bits in base 32 (the ULID layout)."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    digits = [_ALPHABET[(value >> shift) & 31] for shift in range(125, -1, -5)]
    return f"{prefix}_{''.join(digits)}"


def make_owner_id() -> str:
    """Return a new public id with the prefix `own`."""
    return make_public_id("own")


def make_project_id() -> str:
    """Return a new public id with the prefix `prj`."""
    return make_public_id("prj")


def make_vehicle_id() -> str:
    """Return a new public id with the prefix `veh`."""
    return make_public_id("veh")


def make_model_id() -> str:
    """Return a new public id with the prefix `mod`."""
    return make_public_id("mod")


def make_dataset_id() -> str:
    """Return a new public id with the prefix `ds`."""
    return make_public_id("ds")


def make_batch_id() -> str:
    """Return a new public id with the prefix `bat`."""
    return make_public_id("bat")


def make_key_id() -> str:
    """Return a new public id with the prefix `key`."""
    return make_public_id("key")


if TYPE_CHECKING:
    _TextField = models.CharField[str, str]
else:
    _TextField = models.CharField


class PublicIdField(_TextField):
    """A unique text column for a public id; callers see it as opaque."""

    def __init__(self, **options: object) -> None:
        options.setdefault("max_length", 40)
        options.setdefault("unique", True)
        options.setdefault("editable", False)
        super().__init__(**options)  # type: ignore[arg-type]
