"""Processor time of the server's processes, from `/proc`: the load generator's own time is never in it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import psutil

# What the supervisor calls its children, and what a benchmark calls their kind.
KINDS: Mapping[str, str] = {
    "web": "web",
    "worker": "worker",
    "beat": "worker",
    "PostgreSQL": "postgres",
    "Valkey": "broker",
    "supervisor": "other",
}
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class ProcessorTime:
    """User and system seconds by kind of process, since those processes started."""

    seconds: Mapping[str, float]

    def since(self, earlier: ProcessorTime) -> ProcessorTime:
        """Return what was spent between an earlier reading and this one."""
        return ProcessorTime({kind: spent - earlier.seconds.get(kind, 0.0) for kind, spent in self.seconds.items()})

    def ms_per_item(self, items: int) -> dict[str, float]:
        """Return milliseconds for each of `items`, by kind and in `total`."""
        by_kind = {kind: round(1000.0 * spent / max(1, items), 4) for kind, spent in sorted(self.seconds.items())}
        return {**by_kind, "total": round(1000.0 * sum(self.seconds.values()) / max(1, items), 4)}


def read_processor_time(pids: Mapping[str, int]) -> ProcessorTime:
    """Return the time spent so far by the supervisor's children (by name) and all their descendants.

    A descendant that has ended counts through its parent, which the kernel credits when it reaps it. The
    supervisor's other children are listed themselves, so only its own time is taken.
    """
    seconds: dict[str, float] = {}
    for name, pid in pids.items():
        kind = KINDS.get(name, "other")
        spent = _own_seconds(pid) if name == "supervisor" else _tree_seconds(pid)
        seconds[kind] = seconds.get(kind, 0.0) + spent
    return ProcessorTime(seconds)


def _own_seconds(pid: int) -> float:
    return sum(_ticks(pid)[:2]) / _TICKS_PER_SECOND


def _tree_seconds(pid: int) -> float:
    try:
        members = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.NoSuchProcess:
        return 0.0
    return sum(sum(_ticks(member)) for member in members) / _TICKS_PER_SECOND


def _ticks(pid: int) -> tuple[int, int, int, int]:
    """Return user, system, and the reaped children's user and system ticks; zeros where the process is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - read at every tick
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return (0, 0, 0, 0)
    return (int(fields[11]), int(fields[12]), int(fields[13]), int(fields[14]))
