"""The list of system calls: what it lets through on x86-64 and, by running the filter's own program, on arm64."""

from __future__ import annotations

import errno
import signal
import tempfile

import numpy as np
import pyseccomp as seccomp  # type: ignore[import-untyped]
import pytest
from safetensors.numpy import load

from fleetclient.runner import syscalls
from fleetclient.runner.jobs import RunnerReady, UnitDone
from tests.client.runner.bpf import run
from tests.client.runner.support import Make
from tests.client.support import WEIGHTS, input_rows

X86, ARM = seccomp.Arch.X86_64, seccomp.Arch.AARCH64
EPERM, ENOSYS = seccomp.ERRNO(errno.EPERM), seccomp.ERRNO(errno.ENOSYS)
PID = 4321
# Calls that arm64 never had: their newer forms stand beside them.
X86_ONLY = {"open", "stat", "access", "readlink", "poll"}
REFUSED = (
    "socket", "socketpair", "connect", "bind", "sendto", "sendmsg", "accept4", "openat", "openat2", "unlinkat",
    "renameat2", "mkdirat", "linkat", "symlinkat", "fchmodat", "newfstatat", "memfd_create", "kill", "tkill", "ioctl",
    "fcntl", "dup3", "pipe2", "epoll_create1", "eventfd2", "inotify_init1", "shmget", "msgget", "sched_setscheduler",
    "setpriority", "setuid", "capset", "landlock_create_ruleset", "seccomp", "wait4", "timer_create", "getppid",
)  # fmt: skip


def program(arch: int) -> bytes:
    made = syscalls.build_filter(pid=PID, processor=arch)
    with tempfile.TemporaryFile() as file:
        made.export_bpf(file)
        file.seek(0)
        return file.read()


@pytest.fixture(scope="module", params=[X86, ARM], ids=["x86-64", "arm64"])
def ask(request):
    code = program(request.param)

    def ask(name: str, *arguments: int) -> int:
        number = seccomp.resolve_syscall(request.param, name)
        assert number >= 0, f"{name} is no system call there"
        return run(code, arch=request.param, number=number, arguments=arguments)

    return ask


def test_every_name_on_the_lists_is_a_system_call_on_both_processors() -> None:
    names = {*syscalls.ALLOWED, *syscalls.DEADLY, *syscalls.GPU.allowed, "clone", "clone3", "mmap", "mprotect",
             "prlimit64", "prctl", "tgkill", "rt_sigaction"}  # fmt: skip
    assert {name for name in names if seccomp.resolve_syscall(X86, name) < 0} == set()
    assert {name for name in names if seccomp.resolve_syscall(ARM, name) < 0} == X86_ONLY


def test_what_a_model_needs_is_let_through(ask) -> None:
    assert {name for name in syscalls.ALLOWED if ask(name) != seccomp.ALLOW} == set()


def test_everything_else_is_refused(ask) -> None:
    assert {name for name in REFUSED if ask(name) != EPERM} == set()


def test_what_only_an_attack_calls_ends_the_process(ask) -> None:
    assert {name for name in syscalls.DEADLY if ask(name) != seccomp.KILL_PROCESS} == set()


def test_a_thread_may_be_made_and_a_process_not(ask) -> None:
    thread = 0x3D0F00  # what libc asks for: CLONE_VM, FS, FILES, SIGHAND, THREAD, SYSVSEM, SETTLS, PARENT/CHILD_TID
    assert ask("clone", thread) == seccomp.ALLOW
    assert ask("clone", signal.SIGCHLD) == EPERM
    assert ask("clone", 0x4111) == EPERM  # CLONE_VM | CLONE_VFORK | SIGCHLD
    assert ask("clone3", 0, 88) == ENOSYS


def test_memory_may_not_be_executable(ask) -> None:
    assert ask("mmap", 0, 4096, 3) == ask("mprotect", 0, 4096, 1) == seccomp.ALLOW
    assert ask("mmap", 0, 4096, 5) == ask("mprotect", 0, 4096, 7) == EPERM


def test_limits_may_be_read_and_not_set(ask) -> None:
    assert ask("prlimit64", 0, 9, 0, 0x7000) == seccomp.ALLOW
    assert ask("prlimit64", 0, 9, 0x7000, 0) == EPERM
    assert ask("prlimit64", 1, 9, 0, 0x7000) == EPERM


def test_signals_reach_the_process_itself_only_and_its_processor_limit_keeps_its_meaning(ask) -> None:
    assert ask("tgkill", PID, PID + 1, signal.SIGABRT) == seccomp.ALLOW
    assert ask("tgkill", 1, 1, signal.SIGKILL) == EPERM
    assert ask("rt_sigaction", signal.SIGSEGV) == seccomp.ALLOW
    assert ask("rt_sigaction", signal.SIGXCPU) == EPERM


def test_names_of_threads_are_all_that_prctl_may_set(ask) -> None:
    assert ask("prctl", 15) == seccomp.ALLOW
    assert {option for option in (1, 4, 8, 22, 23, 38, 47) if ask("prctl", option) != EPERM} == set()


def test_a_foreign_calling_convention_ends_the_process() -> None:
    native = program(X86)
    assert run(native, arch=seccomp.Arch.X86, number=1) == seccomp.KILL_PROCESS
    assert run(native, arch=X86, number=0x40000000 + 1) == seccomp.KILL_PROCESS  # x32
    assert run(program(ARM), arch=seccomp.Arch.ARM, number=1) == seccomp.KILL_PROCESS


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "off", [("idle_priority",), ("idle_priority", "seccomp", "landlock", "namespaces")], ids=["walls", "no walls"]
)
def test_inference_inside_the_walls_gives_the_numbers_of_inference_without(
    bench: Make, threads: int, off: tuple[str, ...]
) -> None:
    work = bench(threads=threads, walls_off=off, limits={"batch_rows": 256})
    ready = work.hear(RunnerReady)
    assert isinstance(ready, RunnerReady)
    assert ready.confinement["seccomp"] == ("seccomp" not in off)
    work.submit(rows=4096)
    work.hear(UnitDone)
    tensors = load((work.folder / "unit.out").read_bytes())
    np.testing.assert_allclose(tensors["logits"], input_rows(4096) @ WEIGHTS, rtol=1e-5, atol=1e-5)
