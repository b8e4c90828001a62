"""A control group (version 2) for the runner, where the system hands the agent a part of the tree to arrange.

systemd does so for a unit with `Delegate=yes`. Nothing here is needed for work: the limits of the process hold anyway.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROCESSES_MAX = 64  # threads count, too
_AGENT, _RUNNER = "agent", "runner"
_WANTED = ("memory", "pids", "cpu")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunnerGroup:
    """The group of one runner. `has_limits` is False where the tree offers neither memory nor processes."""

    folder: Path
    has_limits: bool

    def remove(self) -> None:
        """Remove the group once its process is gone."""
        with suppress(OSError):  # a process that is not quite gone: the next runner finds the group and uses it
            self.folder.rmdir()


def enclose(pid: int, memory_bytes: int, *, home: Path | None = None) -> RunnerGroup | None:
    """Put a process that has not begun into a group of its own with limits; None where there is no group to be had."""
    home = home or find_home()
    if home is None:
        return None
    try:
        folder = _make(home)
        controllers = set((folder / "cgroup.controllers").read_text().split())
        if "memory" in controllers:
            (folder / "memory.max").write_text(str(memory_bytes))
        if "pids" in controllers:
            (folder / "pids.max").write_text(str(PROCESSES_MAX))
        if "cpu" in controllers:
            _be_last(folder)
        (folder / "cgroup.procs").write_text(str(pid))
    except OSError:
        return None
    return RunnerGroup(folder=folder, has_limits={"memory", "pids"} <= controllers)


def find_home() -> Path | None:
    """Return this process's own group if it is ours to arrange: writable, and with nothing of others in it.

    A group that only happens to be writable, such as a terminal's, holds others' processes and stays as it is.
    """
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return None
    own = next((line[3:] for line in lines if line.startswith("0::")), "/").strip()
    tree = next((line.split()[4] for line in mounts if " - cgroup2 " in line), None)
    if tree is None or own == "/":
        return None
    home = Path(tree) / own.lstrip("/")
    home = home.parent if home.name == _AGENT else home
    is_ours = os.access(home, os.W_OK) and os.access(home / "cgroup.procs", os.W_OK)
    return home if is_ours and all(_is_family(pid) for pid in _members(home)) else None


def _make(home: Path) -> Path:
    """Return the runner's group, beside one for the agent: a group with limits below it holds no process itself."""
    for name in (_AGENT, _RUNNER):
        (home / name).mkdir(exist_ok=True)
    for pid in _members(home):
        (home / _AGENT / "cgroup.procs").write_text(str(pid))
    there = (home / "cgroup.controllers").read_text().split()
    offered = [name for name in _WANTED if name in there]
    if offered:
        (home / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in offered))
    return home / _RUNNER


def _be_last(folder: Path) -> None:
    try:
        (folder / "cpu.idle").write_text("1")
    except OSError:  # before Linux 5.15
        (folder / "cpu.weight").write_text("1")


def _members(home: Path) -> list[int]:
    return [int(pid) for pid in (home / "cgroup.procs").read_text().split()]


def _is_family(pid: int) -> bool:
    """Return True for this process and its children."""
    try:
        parent = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except (OSError, ValueError):
        return False
    return os.getpid() in (pid, parent)
