"""The computer: Python, the runtime, disk, memory, clock."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from fleetclient.doctor.context import Context
from fleetclient.doctor.report import Line, fail, ok, warn
from fleetclient.machine import runtime_version
from fleetclient.words import say_bytes

PYTHON_MIN = (3, 11)
RUNTIME_MIN = (1, 28)
DISK_FREE_BYTES_MIN = 1_000_000_000
DISK_FREE_BYTES_LOW = 4_000_000_000
AGENT_BYTES = 100_000_000
# No clock that is set can be before this client was made (2025-01-01).
CLOCK_UNIX_MIN = 1_735_689_600.0
_MEMORY = Path("/proc/meminfo")
_CONFINABLE = "Linux"


def check_python(_: Context) -> Iterator[Line]:
    """Find out whether this Python is new enough, and the system one on which work can be confined."""
    shown = platform.python_version()
    if sys.version_info[:2] < PYTHON_MIN:
        yield fail("python", f"{shown} is too old", "install Python 3.11 or newer, and this client into it")
    else:
        yield ok("python", f"{shown} on {platform.system()} {platform.release()}, {platform.machine()}")
    if platform.system() != _CONFINABLE:
        yield fail("system", f"work cannot be confined on {platform.system()}", "use a computer with Linux")


def check_runtime(_: Context) -> Iterator[Line]:
    """Find out whether onnxruntime is there; asked of the installation, so that nothing heavy is loaded."""
    version = runtime_version()
    mend = f"run: {sys.executable} -m pip install --upgrade onnxruntime"
    if version == "0.0":
        yield fail("runtime", "onnxruntime is not installed", mend)
    elif tuple(int(part) for part in version.split(".")[:2]) < RUNTIME_MIN:
        yield fail("runtime", f"onnxruntime {version} is too old", mend)
    else:
        yield ok("runtime", f"onnxruntime {version}")


def check_disk(context: Context) -> Iterator[Line]:
    """Find out whether there is room for models and results."""
    config = context.config
    if config is None:
        return
    for name, folder in (("disk (state)", config.state_dir), ("disk (cache)", config.cache_dir)):
        existing = next(each for each in (folder, *folder.parents) if each.exists())
        free = shutil.disk_usage(existing).free
        text = f"{say_bytes(free)} free for {folder}"
        mend = f"free some space, or name a folder on another disk ({'state_dir' if 'state' in name else 'cache_dir'})"
        if free < DISK_FREE_BYTES_MIN:
            yield fail(name, text, mend)
        elif free < DISK_FREE_BYTES_LOW:
            yield warn(name, text, mend)
        else:
            yield ok(name, text)


def check_memory(context: Context) -> Iterator[Line]:
    """Find out whether the memory that the owner grants can be had."""
    config, available = context.config, _available_bytes()
    if config is None or available is None:
        return
    wanted = config.limits.memory_bytes + AGENT_BYTES
    text = f"{say_bytes(available)} available, {say_bytes(config.limits.memory_bytes)} granted to work"
    if available < wanted:
        half = max(16 * 1024**2, available // 2)
        yield warn("memory", text, f"grant less: limits.memory_bytes = {half} in {context.config_file}")
    else:
        yield ok("memory", text)


def check_clock(_: Context) -> Iterator[Line]:
    """Find out whether the clock is set at all; its difference from the server's comes with the server's answer."""
    if time.time() < CLOCK_UNIX_MIN:
        shown = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
        yield fail("clock", f"it says {shown} UTC", "let the computer set its clock: timedatectl set-ntp true")
    else:
        yield ok("clock", time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()))


def _available_bytes() -> int | None:
    try:
        lines = _MEMORY.read_text("ascii").splitlines()
        kib = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        return None
    return min(kib * 1024, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
