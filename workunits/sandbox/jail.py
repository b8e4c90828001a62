"""Locks that the child puts on itself, after its imports and before it reads the first byte of the model.

Each is one-way. What a kernel does not offer is skipped (the list of what holds goes into the report): resource limits
always hold on Linux; the network namespace, Landlock, no-new-privileges and the filter of calls are further walls.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
import sys

from workunits.sandbox import calls
from workunits.sandbox.report import AdmissionLimits

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_LANDLOCK_CREATE_RULESET = 444
_LANDLOCK_RESTRICT_SELF = 446
_LANDLOCK_EVERY_FILE_RIGHT = (1 << 13) - 1  # ABI 1: known to every kernel that has Landlock
_OPEN_FILES_MAX = 64
_FILE_BYTES_SLACK = 1024 * 1024


def lock_down(limits: AdmissionLimits, *, parent_pid: int) -> list[str]:
    """Apply every lock that this kernel offers and return their names; end if the parent is gone.

    The caller must be the only thread: a namespace of one's own is refused to several, and Landlock binds one.
    """
    if not sys.platform.startswith("linux"):
        _limit_resources(limits)
        return ["rlimits"]
    libc = ctypes.CDLL(None, use_errno=True)
    call_filter = calls.make_filter()
    held = []
    # Both at once first: an ordinary user may only leave the network from a user namespace of his own.
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0 or libc.unshare(_CLONE_NEWNET) == 0:
        held.append("network")
    # Later than the namespaces, which undo both.
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    if os.getppid() != parent_pid:  # it ended before the kernel was asked to tell us of it
        os._exit(1)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
        held.append("no_new_privs")
    if _deny_files(libc):
        held.append("landlock")
    _limit_resources(limits)
    held.append("rlimits")
    # Last: it takes away the calls that set the others.
    if call_filter is not None and calls.load(call_filter):
        held.append("seccomp")
    return held


def _limit_resources(limits: AdmissionLimits) -> None:
    # A soft processor limit below the hard one ends with SIGXCPU, which the parent can tell from a crash.
    maxima = {
        resource.RLIMIT_AS: (limits.memory_bytes, limits.memory_bytes),
        resource.RLIMIT_CPU: (limits.seconds, limits.seconds + 1),
        resource.RLIMIT_FSIZE: (2 * limits.model_bytes_max + _FILE_BYTES_SLACK,) * 2,
        resource.RLIMIT_NOFILE: (_OPEN_FILES_MAX, _OPEN_FILES_MAX),
        resource.RLIMIT_CORE: (0, 0),
    }
    for name, (soft, hard) in maxima.items():
        resource.setrlimit(name, (soft, hard))


def _deny_files(libc: ctypes.CDLL) -> bool:
    """Deny opening any file by path for good: a ruleset that handles every right and grants none."""
    attributes = struct.pack("Q", _LANDLOCK_EVERY_FILE_RIGHT)
    ruleset = libc.syscall(_LANDLOCK_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    if ruleset < 0:
        return False
    restricted = libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0) == 0
    os.close(ruleset)
    return bool(restricted)
