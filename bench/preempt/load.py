"""Other work for the machine: one process a core that is busy for a share of every few milliseconds."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

PERIOD_SECONDS: Final = 0.04


@contextmanager
def busy_cores(share: float) -> Iterator[None]:
    """Keep every core busy for `share` (0 to 1) of the time, at the priority of any program."""
    code = f"from bench.preempt.load import burn; burn({share})"
    burners = []
    try:
        for core in sorted(os.sched_getaffinity(0)):
            burners.append(subprocess.Popen([sys.executable, "-c", code]))
            os.sched_setaffinity(burners[-1].pid, {core})
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def burn(share: float) -> None:
    """Be busy until ended, or until the parent is gone."""
    parent = os.getppid()
    while os.getppid() == parent:
        until = time.perf_counter() + share * PERIOD_SECONDS
        while time.perf_counter() < until:
            pass
        time.sleep((1.0 - share) * PERIOD_SECONDS)
