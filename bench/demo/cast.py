"""Who takes part: seven cars of seven owners, no two alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MIB: Final = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class CarPlan:
    """One car and what is special about it; each has an owner of its own.

    Attributes:
        speed: share of this machine's speed at which it computes.
        memory_bytes: what it says it can lend to a model.
        starts_after_seconds: it is plugged in so long after the others.
        role: `honest`, `cheat` (returns wrong numbers), `leaves` (drives off in the middle of a unit) or `dies`
            (is killed with kill -9 in the middle of a unit).
        remark: how the table at the end describes it.
    """

    key: str
    name: str
    owner: str
    speed: float
    memory_bytes: int = 2048 * MIB
    starts_after_seconds: float = 0.0
    role: str = "honest"
    remark: str = ""


CARS: Final = (
    CarPlan(key="vf8", name="VF 8", owner="Mai", speed=1.0, remark="fast"),
    CarPlan(key="id3", name="ID.3", owner="Jonas", speed=0.7),
    CarPlan(key="ioniq", name="Ioniq 5", owner="Amara", speed=0.8, role="leaves", remark="drives off, comes back"),
    CarPlan(key="dolphin", name="Dolphin", owner="Wei", speed=0.6, role="dies", remark="killed with kill -9"),
    CarPlan(key="fiat", name="500e", owner="Lucia", speed=0.4, memory_bytes=300 * MIB, remark="memory for digits only"),
    CarPlan(key="leaf", name="Leaf", owner="Rob", speed=1.0, role="cheat", remark="returns wrong numbers"),
    CarPlan(key="vf5", name="VF 5", owner="Minh", speed=0.5, starts_after_seconds=8.0, remark="plugged in later"),
)  # fmt: skip
OWNERS: Final = tuple(car.owner for car in CARS)
CHEAT: Final = next(car for car in CARS if car.role == "cheat")
# The logins that `manage.py demo_accounts` makes, so that those it prints later see the data of this run.
PASSWORD: Final = "parked-cars"  # noqa: S105  # of accounts that live in the demonstration's own folder
RESEARCHER: Final = "researcher"
PROJECT: Final = "Demonstration"


def username_of(name: str) -> str:
    """Return the name that somebody signs in with."""
    return name.lower()
