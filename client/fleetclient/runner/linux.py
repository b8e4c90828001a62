"""Kernel calls that Python has no name for. Each returns True if the kernel did it; none raises for a refusal.

Runs in the runner's child and in the probes. Standard library only.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal

CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITIES = 64
_CAPABILITY_VERSION_3 = 0x20080522
_IOPRIO_WHO_PROCESS = 1
_IOPRIO_CLASS_IDLE = 3 << 13
# libc has no wrapper for it. Other machines keep their input and output priority.
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}

_libc = ctypes.CDLL(None, use_errno=True)


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilitySets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def unshare(flags: int) -> bool:
    """Move to new namespaces. The kernel refuses a new user namespace to a process with several threads."""
    return bool(_libc.unshare(flags) == 0)


def die_with_parent(number: signal.Signals = signal.SIGKILL) -> bool:
    """Be sent a signal when the thread that started this process ends. A gain of privileges undoes it."""
    return _prctl(_PR_SET_PDEATHSIG, number)


def forbid_new_privileges() -> bool:
    """Let no program started from here gain anything by being set-user-id; Landlock and seccomp ask for it."""
    return _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def refuse_to_be_traced() -> bool:
    """Be readable and traceable for root only, and leave no core file."""
    return _prctl(_PR_SET_DUMPABLE, 0)


def drop_capabilities() -> bool:
    """Give up every privilege, also those that root or the first process of a user namespace has."""
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    for capability in range(_CAPABILITIES):
        _prctl(_PR_CAPBSET_DROP, capability)  # refused to those who had none to begin with
    header = _CapabilityHeader(version=_CAPABILITY_VERSION_3, pid=0)
    nothing = (_CapabilitySets * 2)()
    return bool(_libc.capset(ctypes.byref(header), nothing) == 0)


def idle_input_output() -> bool:
    """Let every other process's disk requests go first."""
    number = _IOPRIO_SET.get(platform.machine())
    return number is not None and bool(_libc.syscall(number, _IOPRIO_WHO_PROCESS, 0, _IOPRIO_CLASS_IDLE) == 0)


def idle_processor() -> bool:
    """Run only when nobody else wants the processor."""
    os.nice(19)
    try:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    except OSError:
        return False
    return True


def _prctl(option: int, value: int) -> bool:
    zero = ctypes.c_ulong(0)
    return bool(_libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero) == 0)
