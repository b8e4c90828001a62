"""What the set-up tells the load generator: the cars with their keys, and what an output looks like."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CarPlan:
    """A paired car: its public id and the seed of its Ed25519 key, in hex."""

    vehicle_id: str
    seed: str


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FleetPlan:
    """Everything a load generator has to know. `output_header` (hex) opens every output document."""

    cars: tuple[CarPlan, ...]
    output_header: str
    output_bytes: int
    model_sha256: str
    director_key: str


def write_plan(plan: FleetPlan, path: Path) -> None:
    """Write the plan as JSON, readable by this user only: it holds private keys."""
    path.touch(mode=0o600)
    path.write_text(json.dumps(dataclasses.asdict(plan)), encoding="utf-8")


def read_plan(path: Path) -> FleetPlan:
    """Read what `write_plan` wrote."""
    content = json.loads(path.read_text(encoding="utf-8"))
    cars = tuple(CarPlan(**car) for car in content.pop("cars"))
    return FleetPlan(cars=cars, **content)
