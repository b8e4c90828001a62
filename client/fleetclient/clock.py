"""The two clocks of a car. Durations never look at the wall clock, which owners and time servers move."""

from __future__ import annotations

import time
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_seconds() -> float:
    """Return seconds since boot, time asleep included: the clock of leases and of the loop."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Return what tells this boot from every other: `boot_seconds` of two boots cannot be compared."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:
        return "unknown"


def wall_seconds() -> float:
    """Return Unix time by this machine's clock, which may be wrong."""
    return time.time()
