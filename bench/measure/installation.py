"""An installation of its own for a benchmark: a fresh home on a real disk, erased afterwards."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from fleetcompute.embedded import Supervisor
from fleetcompute.embedded.identity import erase_data

# /tmp is often kept in memory, where waiting for the disk costs nothing.
DISK = Path("/var/tmp")  # noqa: S108 - mkdtemp makes a private folder in it


@contextlib.contextmanager
def fresh_home() -> Iterator[Path]:
    """Yield an empty home, and erase it with all its data afterwards."""
    home = Path(tempfile.mkdtemp(prefix="fleetcompute-bench-", dir=DISK if DISK.is_dir() else None))
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)
        erase_data(home)


@contextlib.contextmanager
def paused(supervisor: Supervisor, *names: str) -> Iterator[None]:
    """Hold some of the supervisor's programs still, so that what the others do can be counted apart."""
    with contextlib.ExitStack() as stack:
        for pid in [member for name in names for member in _tree(supervisor.pids, name)]:
            os.kill(pid, signal.SIGSTOP)
            stack.callback(os.kill, pid, signal.SIGCONT)
        yield


def _tree(pids: Mapping[str, int], name: str) -> list[int]:
    if name not in pids:
        return []
    return [pids[name], *(child.pid for child in psutil.Process(pids[name]).children(recursive=True))]
