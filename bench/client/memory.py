"""What a process and its children hold in memory and have used of the processor, from /proc."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

KIB: Final = 1024
_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Megabytes (10^6 bytes). `pss`: pages shared with other processes counted by their share; `private`: its own."""

    pss_mb: float
    rss_mb: float
    private_mb: float

    def __add__(self, other: Memory) -> Memory:
        return Memory(
            pss_mb=self.pss_mb + other.pss_mb,
            rss_mb=self.rss_mb + other.rss_mb,
            private_mb=self.private_mb + other.private_mb,
        )


NOTHING: Final = Memory(pss_mb=0.0, rss_mb=0.0, private_mb=0.0)


def read_memory(pid: int) -> Memory:
    """Return what one process holds; nothing when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return NOTHING
    sizes = {name: int(rest.split()[0]) * KIB / 1e6 for name, _, rest in (line.partition(":") for line in lines[1:])}
    return Memory(pss_mb=sizes["Pss"], rss_mb=sizes["Rss"], private_mb=sizes["Private_Clean"] + sizes["Private_Dirty"])


def read_mappings(pid: int) -> dict[str, float]:
    """Return the PSS of one process by what is mapped, in megabytes: its heap, each library, and so on."""
    found: dict[str, float] = {}
    name = ""
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        words = line.split()
        if "-" in words[0] and not words[0].endswith(":"):
            name = Path(words[5]).name if len(words) > 5 else "anonymous"
        elif words[0] == "Pss:":
            found[name] = found.get(name, 0.0) + int(words[1]) * KIB / 1e6
    return found


def family(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    try:
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


def read_family_memory(pid: int) -> Memory:
    """Return what a process and its descendants hold together."""
    return sum((read_memory(member) for member in family(pid)), NOTHING)


def processor_seconds(pids: Sequence[int]) -> float:
    """Return user and system seconds of processes, with those of the children they have reaped."""
    return sum(sum(_ticks(pid)) for pid in pids) / _TICKS_PER_SECOND


def waited_seconds(pids: Sequence[int]) -> float:
    """Return how long the threads of processes have been ready to run while something else had their core."""
    waited = 0
    for pid in pids:
        for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with suppress(FileNotFoundError, ProcessLookupError):
                waited += int(path.read_text().split()[1])
    return waited / 1e9


def _ticks(pid: int) -> list[int]:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(field) for field in fields[11:15]]
