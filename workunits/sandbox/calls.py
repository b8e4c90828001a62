"""The system calls that remain to the child once its locks hold: a short list; everything else is refused or deadly.

An examination needs memory, threads, clocks, and descriptors that are open. It reads nothing by path, starts nothing
and speaks to nobody, and no call that could is on the list.
"""

from __future__ import annotations

import errno
import mmap
import os
from typing import Any, Final

_CLONE_THREAD = 0x00010000
_PR_SET_NAME = 15

ALLOWED: Final = (
    "read", "write", "readv", "writev", "pread64", "pwrite64", "lseek", "fstat", "close",
    "brk", "munmap", "mremap", "madvise", "memfd_create",
    "futex", "set_robust_list", "rseq", "sched_yield", "sched_getaffinity", "getcpu", "membarrier", "gettid", "getpid",
    "clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "getrandom", "getrusage",
    "sysinfo", "uname",
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall", "exit", "exit_group",
)  # fmt: skip

# No library calls these while it examines a model: whoever does has taken over the process.
DEADLY: Final = (
    "execve", "execveat", "ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "bpf", "perf_event_open",
    "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register", "keyctl", "add_key", "request_key",
    "mount", "umount2", "move_mount", "open_tree", "fsopen", "pivot_root", "chroot", "unshare", "setns",
    "open_by_handle_at", "kexec_load", "init_module", "finit_module", "delete_module",
)  # fmt: skip


def make_filter() -> Any:
    """Return the filter, not yet loaded, or None where the library libseccomp is not installed.

    Called while files can still be opened: the library is found by opening some.
    """
    try:
        import pyseccomp as seccomp  # type: ignore[import-untyped]
    except (ImportError, RuntimeError):
        return None
    chosen = seccomp.SyscallFilter(seccomp.ERRNO(errno.EPERM))
    chosen.set_attr(seccomp.Attr.ACT_BADARCH, seccomp.KILL_PROCESS)
    chosen.set_attr(seccomp.Attr.CTL_TSYNC, 1)
    rules: list[tuple[int, str, tuple[Any, ...]]] = [(seccomp.ALLOW, name, ()) for name in ALLOWED]
    rules += [(seccomp.KILL_PROCESS, name, ()) for name in DEADLY]
    # Threads, but no processes. The newer call hides its flags in memory; without it, libc takes the older.
    rules.append((seccomp.ALLOW, "clone", (seccomp.Arg(0, seccomp.MASKED_EQ, _CLONE_THREAD, _CLONE_THREAD),)))
    rules.append((seccomp.ERRNO(errno.ENOSYS), "clone3", ()))
    # No new machine code.
    no_code = seccomp.Arg(2, seccomp.MASKED_EQ, mmap.PROT_EXEC, 0)
    rules += [(seccomp.ALLOW, name, (no_code,)) for name in ("mmap", "mprotect")]
    # The optimiser writes its result to a path, which is that of a file in memory. So files can be opened for writing
    # anew, and never for reading; that no other can be written is Landlock's part.
    anew = seccomp.Arg(2, seccomp.EQ, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    rules.append((seccomp.ALLOW, "openat", (anew,)))
    # Limits may be read, not set; signals reach this process only.
    itself = seccomp.Arg(0, seccomp.EQ, 0)
    rules.append((seccomp.ALLOW, "prlimit64", (itself, seccomp.Arg(2, seccomp.EQ, 0))))
    rules.append((seccomp.ALLOW, "tgkill", (seccomp.Arg(0, seccomp.EQ, os.getpid()),)))
    rules.append((seccomp.ALLOW, "prctl", (seccomp.Arg(0, seccomp.EQ, _PR_SET_NAME),)))
    for action, name, arguments in rules:
        number = seccomp.resolve_syscall(seccomp.Arch.NATIVE, name)
        if number != -1:  # a library older than the call does not know it; what is not on the list is refused anyway
            chosen.add_rule(action, number, *arguments)
    return chosen


def load(chosen: Any) -> bool:
    """Put this process behind the filter for good; False where the kernel has none."""
    try:
        chosen.load()
    except OSError:
        return False
    return True
