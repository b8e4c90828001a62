"""Which system calls a runner keeps once its walls are up: a short list of what may, everything else is refused.

Loading and running a model needs memory, threads, clocks, and reads and writes on descriptors that were passed in. It
opens nothing, so no call that takes a path is here: with this list alone no file can be opened, no program started, no
socket made. Names that a processor does not have (`open` on arm64) are passed over by libseccomp.

Needs the library libseccomp and its binding `pyseccomp`; `fleetclient.runner.walls` says so where it is missing.
"""

from __future__ import annotations

import errno
import mmap
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import pyseccomp  # type: ignore[import-untyped]

_CLONE_THREAD = 0x00010000
_PR_SET_NAME = 15

ALLOWED: Final = (
    # descriptors that are open
    "read", "write", "readv", "writev", "pread64", "pwrite64", "lseek", "fstat", "recvmsg", "close",
    "ftruncate", "fsync", "fdatasync",
    # memory, apart from mmap and mprotect
    "brk", "munmap", "mremap", "madvise",
    # threads, apart from clone
    "futex", "set_robust_list", "rseq", "sched_yield", "sched_getaffinity", "getcpu", "membarrier", "gettid", "getpid",
    # clocks, chance, figures about oneself
    "clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "getrandom", "getrusage",
    "sysinfo", "uname",
    # signals to oneself, and the end
    "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall", "exit", "exit_group",
)  # fmt: skip

# Nothing that loads or runs a model comes near these: whoever calls one has taken over the process, which ends here.
DEADLY: Final = (
    "execve", "execveat", "ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "bpf", "perf_event_open",
    "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register", "keyctl", "add_key", "request_key",
    "mount", "umount2", "move_mount", "open_tree", "fsopen", "pivot_root", "chroot", "unshare", "setns",
    "open_by_handle_at", "kexec_load", "init_module", "finit_module", "delete_module",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """What a kind of processor needs beyond the list above.

    Attributes:
        name: `cpu` or `gpu`.
        allowed: further system calls.
        may_make_code: memory that is executable, for a driver that compiles at run time.
        read_paths: files and folders that may be opened for reading; only Landlock can hold the rest shut.
        device_paths: the same for reading and writing.
    """

    name: str
    allowed: tuple[str, ...] = ()
    may_make_code: bool = False
    read_paths: tuple[str, ...] = ()
    device_paths: tuple[str, ...] = ()

    @property
    def opens_files(self) -> bool:
        """True where Landlock, and not the list of system calls, decides which files may be opened."""
        return bool(self.read_paths or self.device_paths)


CPU: Final = Profile(name="cpu")
# CUDA loads its libraries and opens its devices when the first session is made, which is after the walls are up.
GPU: Final = Profile(
    name="gpu",
    allowed=(
        "open", "openat", "newfstatat", "stat", "access", "readlink", "getdents64", "fcntl", "ioctl", "mlock",
        "munlock", "eventfd2", "pipe2", "poll", "ppoll", "sched_setaffinity", "getuid", "geteuid", "getgid", "getegid",
        "getppid", "get_mempolicy", "set_mempolicy", "mbind", "mincore",
    ),
    may_make_code=True,
    read_paths=("/usr/lib", "/usr/local/cuda", "/usr/local/lib", "/lib", "/etc/ld.so.cache", "/proc/driver/nvidia",
                "/sys/devices/system", "/sys/bus/pci/devices", "/sys/module/nvidia"),
    device_paths=("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia0", "/dev/null"),
)  # fmt: skip


def build_filter(profile: Profile = CPU, *, pid: int, processor: int | None = None) -> pyseccomp.SyscallFilter:
    """Return the filter for a process of this id, not yet loaded. Raises RuntimeError without the library.

    A foreign calling convention (32-bit, x32) ends the process: its numbers mean other calls. `processor` is one of
    `pyseccomp.Arch`, this machine's where left out.
    """
    import pyseccomp as seccomp

    denied = seccomp.SyscallFilter(seccomp.ERRNO(errno.EPERM))
    if processor not in (None, seccomp.system_arch()):
        denied.add_arch(processor)
        denied.remove_arch(seccomp.Arch.NATIVE)
    denied.set_attr(seccomp.Attr.ACT_BADARCH, seccomp.KILL_PROCESS)
    denied.set_attr(seccomp.Attr.CTL_TSYNC, 1)
    for name in (*ALLOWED, *profile.allowed):
        _add(denied, seccomp.ALLOW, name)
    for name in DEADLY:
        _add(denied, seccomp.KILL_PROCESS, name)
    # A thread yes, a process no. The newer call hides its flags in memory: where it is not there, libc takes the older.
    _add(denied, seccomp.ALLOW, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, _CLONE_THREAD, _CLONE_THREAD))
    _add(denied, seccomp.ERRNO(errno.ENOSYS), "clone3")
    for name in ("mmap", "mprotect"):
        if profile.may_make_code:
            _add(denied, seccomp.ALLOW, name)
        else:  # no new machine code: neither mapped from a file nor written
            _add(denied, seccomp.ALLOW, name, seccomp.Arg(2, seccomp.MASKED_EQ, mmap.PROT_EXEC, 0))
    # Limits may be read and not set. The agent moves the limit on processor time, from outside.
    itself = seccomp.Arg(0, seccomp.EQ, 0)
    _add(denied, seccomp.ALLOW, "prlimit64", itself, seccomp.Arg(2, seccomp.EQ, 0))
    _add(denied, seccomp.ALLOW, "prctl", seccomp.Arg(0, seccomp.EQ, _PR_SET_NAME))
    _add(denied, seccomp.ALLOW, "tgkill", seccomp.Arg(0, seccomp.EQ, pid))
    # The signal of the processor limit keeps its meaning: the end.
    _add(denied, seccomp.ALLOW, "rt_sigaction", seccomp.Arg(0, seccomp.NE, signal.SIGXCPU))
    return denied


def _add(target: pyseccomp.SyscallFilter, action: int, name: str, *arguments: pyseccomp.Arg) -> None:
    import pyseccomp as seccomp

    number = seccomp.resolve_syscall(seccomp.Arch.NATIVE, name)
    # A libseccomp older than the call does not know it: what is not on the list is refused in any case.
    if number != _UNKNOWN:
        target.add_rule(action, number, *arguments)


_UNKNOWN = -1
