"""What the runner gives up before it reads a model: priority, the network, memory, files, core dumps.

Runs in the child. Each step says whether it holds; this first version goes on without the network namespace where the
kernel does not allow one. File access and system calls are not confined yet.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from pathlib import Path

from fleetclient.wire import Limits

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
NICE = 19
OPEN_FILES_MAX = 64
# The runtime's own growth while it loads and runs any model: thread stacks, code, buffers of its allocators.
HEADROOM_BYTES = 256 * 1024**2
FILE_HEADROOM_BYTES = 64 * 1024
CPU_HEADROOM_SECONDS = 30

_libc = ctypes.CDLL(None, use_errno=True)


def leave_network() -> bool:
    """Move to an empty network namespace where the kernel allows it; True if there is no network any more."""
    flags = CLONE_NEWNET if os.geteuid() == 0 else CLONE_NEWUSER | CLONE_NEWNET
    return bool(_libc.unshare(flags) == 0)


def step_back(agent_pid: int) -> dict[str, bool]:
    """Become a background process that dies with the agent. After `leave_network`, which would undo a part of it."""
    no_new_privileges = _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    dies_with_agent = _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) == 0
    if os.getppid() != agent_pid:
        raise SystemExit("the agent is gone already")
    os.nice(NICE)
    idle = True
    try:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    except OSError:
        idle = False
    return {"no_new_privileges": no_new_privileges, "dies_with_agent": dies_with_agent, "idle_priority": idle}


def limit_resources(limits: Limits, *, memory_bytes: int) -> None:
    """Set hard limits for loading and running: call when the runtime is imported and before the model is read."""
    used_bytes = _address_space_bytes()
    _limit(resource.RLIMIT_AS, used_bytes + memory_bytes + HEADROOM_BYTES)
    _limit(resource.RLIMIT_FSIZE, limits.output_bytes_max + FILE_HEADROOM_BYTES)
    _limit(resource.RLIMIT_NOFILE, OPEN_FILES_MAX)
    _limit(resource.RLIMIT_CORE, 0)


def allow_cpu_seconds(seconds: int, *, threads: int) -> None:
    """Let this process use so many more processor seconds; then the kernel ends it. Called before each unit.

    The agent's wall clock limit comes first; this one holds when the agent itself is hung.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    upto = int(used.ru_utime + used.ru_stime) + seconds * threads + CPU_HEADROOM_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (upto, resource.RLIM_INFINITY))


def _limit(what: int, value: int) -> None:
    _, hard = resource.getrlimit(what)
    bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (bound, bound))


def _address_space_bytes() -> int:
    return int(Path("/proc/self/statm").read_bytes().split()[0]) * resource.getpagesize()
