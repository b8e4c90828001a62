"""Can this system confine a model at all? Asked once, by putting the walls up around an empty process."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache

from fleetclient.runner.options import SandboxOptions
from fleetclient.runner.probes import ask_child, has_cgroup


@dataclass(frozen=True, kw_only=True, slots=True)
class WallsReport:
    """Which walls hold, by the names in `confinement.WALLS`.

    `reason_refused` is empty when work may be taken; else it says what is missing and how to mend it.
    """

    reason_refused: str
    walls: dict[str, bool]


def check_walls(options: SandboxOptions | None = None, *, off: Collection[str] = ()) -> WallsReport:
    """Return what holds here. The first call starts a child process for a tenth of a second; others remember.

    `off` names walls to leave away, for tests.
    """
    report = _check(tuple(sorted(off)))
    walls = report.walls | {"cgroup": has_cgroup(options or SandboxOptions())}
    return WallsReport(reason_refused=report.reason_refused, walls=walls)


@cache
def _check(off: tuple[str, ...]) -> WallsReport:
    report = ask_child({"mode": "walls", "profile": "cpu", "off": list(off)})
    return WallsReport(reason_refused=report["reason_refused"], walls=report["walls"])
