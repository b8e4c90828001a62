"""The walls around a strange model, put up by the process that is about to load it. Each is for good.

Two steps: `step_back` and `leave_namespaces` before the runtime is imported, `raise_walls` after it and before the
first byte of the model. What a kernel does not offer is left away and reported; what work needs is `REQUIRED`.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Collection
from pathlib import Path
from typing import Any, ClassVar, Final

from fleetclient.errors import ClientError
from fleetclient.runner import linux, syscalls
from fleetclient.runner.bounds import CPU_SECONDS_A_LIFE, OPEN_FILES_MAX, STACK_BYTES, Bounds

# What each wall is, for people; `cgroup` is put up by the agent.
WALLS: Final = {
    "seccomp": "a list of the few system calls that a model needs; no file, program, process or socket is among them",
    "no_new_privileges": "nothing that is started could gain a privilege",
    "limits": "caps on memory, processor time, file size, open files",
    "namespaces": "a network of its own with nothing in it",
    "landlock": "no path can be opened, no port reached, no process outside signalled",
    "no_privileges": "not one of the privileges of root, in its own namespace either",
    "untraceable": "other programs of the same user can neither read nor trace it",
    "dies_with_agent": "the kernel ends it when the agent ends",
    "idle_priority": "runs only when nobody else wants the processor",
    "idle_disk": "its disk requests come last",
    "first_to_go": "the first that the kernel ends when memory is short",
    "cgroup": "a control group with caps on memory and processes",
}
REQUIRED: Final = ("seccomp", "no_new_privileges", "limits")
_OTHER_KERNEL = "this kernel does not offer it; run a kernel of your distribution, or leave the container that hides it"
_MENDING: Final = {
    "seccomp": "install libseccomp (apt install libseccomp2), and a kernel with CONFIG_SECCOMP_FILTER",
    "no_new_privileges": _OTHER_KERNEL,
    "limits": _OTHER_KERNEL,
    "landlock": _OTHER_KERNEL + "; without it no GPU is used",
}


class Unconfined(ClientError):
    """A wall that work needs could not be put up."""

    code: ClassVar[str] = "unconfined"


def step_back(*, off: Collection[str] = ()) -> dict[str, bool]:
    """Become a background process. Needs files under /proc, so before the walls."""
    return {
        "idle_priority": "idle_priority" not in off and linux.idle_processor(),
        "idle_disk": linux.idle_input_output(),
        "first_to_go": _be_first_to_go(),
    }


def leave_namespaces(*, off: Collection[str] = ()) -> dict[str, bool]:
    """Move to an empty network, and to inter-process memory and names of its own, where the kernel allows it.

    An ordinary user may do so only from a user namespace of his own; root stays in the one he is in.
    """
    if "namespaces" in off:
        return {"namespaces": False}
    apart = linux.CLONE_NEWNET | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS
    is_root = os.geteuid() == 0
    return {"namespaces": (is_root and linux.unshare(apart)) or linux.unshare(linux.CLONE_NEWUSER | apart)}


def raise_walls(
    bounds: Bounds, *, parent_pid: int, profile: syscalls.Profile = syscalls.CPU, off: Collection[str] = ()
) -> dict[str, bool]:
    """Put up everything else; afterwards nothing can be opened, started or reached. Raises Unconfined.

    Every import must be done and no other thread be running: Landlock binds the calling thread and its children only.
    `off` names walls to leave away, for tests.
    """
    if _threads() != 1:
        raise Unconfined("the runtime started a thread when it was imported; it would stay outside of the walls")
    call_filter = None if "seccomp" in off else _build_filter(profile)  # finds its library by opening files
    holds = {
        "dies_with_agent": _die_with(parent_pid),
        "untraceable": linux.refuse_to_be_traced(),
        "no_privileges": linux.drop_capabilities(),
        "no_new_privileges": "no_new_privileges" not in off and linux.forbid_new_privileges(),
        "limits": "limits" not in off and _limit(bounds),
        "landlock": "landlock" not in off and _shut_files(profile),
    }
    # Last: it also takes away the calls that put up the others.
    holds["seccomp"] = call_filter is not None and _load(call_filter)
    missing = [name for name in _required(profile) if not holds[name]]
    if set(missing) - set(off):
        raise Unconfined("; ".join(f"the wall {name!r} cannot be put up: {_MENDING[name]}" for name in missing))
    return holds


def _die_with(parent_pid: int) -> bool:
    is_watched = linux.die_with_parent(signal.SIGKILL)
    if os.getppid() != parent_pid:  # it ended before the kernel was asked to watch it
        raise SystemExit("the agent is gone already")
    return is_watched


def _required(profile: syscalls.Profile) -> tuple[str, ...]:
    return (*REQUIRED, "landlock") if profile.opens_files else REQUIRED


def _threads() -> int:
    return sum(1 for _ in Path("/proc/self/task").iterdir())


def _be_first_to_go() -> bool:
    try:
        Path("/proc/self/oom_score_adj").write_text("1000")
    except OSError:
        return False
    return True


def _limit(bounds: Bounds) -> bool:
    used_bytes = int(Path("/proc/self/statm").read_bytes().split()[0]) * resource.getpagesize()
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu_seconds = int(used.ru_utime + used.ru_stime) + bounds.cpu_seconds
    # RLIMIT_NPROC counts everything this user runs, so it says nothing about one runner; seccomp allows no process.
    _set_limit(resource.RLIMIT_AS, used_bytes + bounds.memory_bytes)
    _set_limit(resource.RLIMIT_FSIZE, bounds.file_bytes)
    _set_limit(resource.RLIMIT_NOFILE, OPEN_FILES_MAX)
    _set_limit(resource.RLIMIT_CORE, 0)
    _set_limit(resource.RLIMIT_STACK, STACK_BYTES)
    _set_limit(resource.RLIMIT_CPU, cpu_seconds, hard=CPU_SECONDS_A_LIFE)
    return True


def _set_limit(what: int, value: int, *, hard: int | None = None) -> None:
    _, present = resource.getrlimit(what)
    highest = value if hard is None else max(value, hard)
    if present != resource.RLIM_INFINITY:
        highest = min(highest, present)
    resource.setrlimit(what, (min(value, highest), highest))


def _shut_files(profile: syscalls.Profile) -> bool:
    """Deny every right over files, ports and scopes that this kernel's Landlock knows, but for the profile's paths."""
    from py_landlock import AccessFs, Landlock, LandlockError

    try:
        rules = Landlock(strict=False)
        for path in filter(Path.exists, map(Path, profile.read_paths)):
            # The right to list belongs to folders; libraries are mapped as code, which counts as executing.
            listing = AccessFs.READ_DIR if path.is_dir() else AccessFs(0)
            rules.add_path_rule(path, access=AccessFs.READ_FILE | AccessFs.EXECUTE | listing)
        for path in filter(Path.exists, map(Path, profile.device_paths)):
            rules.add_path_rule(path, access=AccessFs.READ_FILE | AccessFs.WRITE_FILE | AccessFs.IOCTL_DEV)
        rules.apply()
    except LandlockError:  # no Landlock in this kernel, or switched off at boot
        return False
    return True


def _build_filter(profile: syscalls.Profile) -> Any:
    try:
        return syscalls.build_filter(profile, pid=os.getpid())
    except (ImportError, RuntimeError):  # libseccomp is not installed
        return None


def _load(call_filter: Any) -> bool:
    try:
        call_filter.load()
    except OSError:  # a kernel without filters
        return False
    return True
