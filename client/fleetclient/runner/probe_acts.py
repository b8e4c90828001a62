"""What a model that took over its process might try, each by a raw system call, so that no library stands between.

An act returns if it was possible, raises OSError if it was refused, or does not come back. Everything it needs is made
before the walls go up, so that it can fail for one reason only.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleetclient.runner.bounds import Bounds

_AT_FDCWD = -100
_CLONE_NEWUSER = 0x10000000
_MFD_CLOEXEC = 1
_KEYCTL_JOIN_SESSION_KEYRING = 1
_MAP_NORESERVE = 0x4000
_PTRACE_SEIZE = 0x4206
_SPIN_SECONDS_OVER = 3
_CALLS = (
    "socket", "connect", "sendto", "execve", "memfd_create", "mmap", "clone", "clone3", "ptrace", "process_vm_readv",
    "kill", "tgkill", "openat", "unlinkat", "pwrite64", "prlimit64", "io_uring_setup", "unshare", "keyctl",
)  # fmt: skip

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """What the acts act on: made outside of the walls, inherited by each of the processes that try."""

    numbers: dict[str, int]
    agent_pid: int
    agent_memory: ctypes.Array[ctypes.c_char]
    address: bytes
    stream: socket.socket
    datagram: socket.socket
    secret: bytes
    doomed: bytes
    new_file: bytes
    output: int
    bounds: Bounds

    def call(self, name: str, *arguments: object) -> int:
        """Make a system call; raises OSError with its error."""
        wide = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
        result = int(_libc.syscall(ctypes.c_long(self.numbers[name]), *wide))
        if result < 0:
            raise OSError(ctypes.get_errno(), name)
        return result


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """One forbidden thing. `is_for_all` is False for what a GPU's driver does itself, and may."""

    name: str
    what: str
    act: Callable[[Stage], object]
    is_for_all: bool = True


def set_stage(folder: Path, *, secret: str | None, bounds: Bounds) -> Stage:
    """Make everything that the acts need, in an empty folder and on the loopback network."""
    import pyseccomp  # type: ignore[import-untyped]

    key = Path(secret) if secret else folder / "secret"
    if not secret:
        key.write_bytes(b"a key")
    (folder / "doomed").touch()
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    listener.set_inheritable(True)
    global _listener  # noqa: PLW0603 - it must live as long as this process, and no act needs it
    _listener = listener
    return Stage(
        numbers={name: pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name) for name in _CALLS},
        agent_pid=os.getpid(),
        agent_memory=ctypes.create_string_buffer(b"the agent's memory"),
        address=struct.pack("=HH4s8x", socket.AF_INET, socket.htons(port), socket.inet_aton("127.0.0.1")),
        stream=socket.socket(socket.AF_INET, socket.SOCK_STREAM),
        datagram=socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        secret=os.fsencode(key),
        doomed=os.fsencode(folder / "doomed"),
        new_file=os.fsencode(folder / "new"),
        output=os.open(folder / "output", os.O_RDWR | os.O_CREAT, 0o600),
        bounds=bounds,
    )


_listener: socket.socket | None = None


def _socket(family: int, kind: int = socket.SOCK_STREAM) -> Callable[[Stage], object]:
    return lambda stage: stage.call("socket", family, kind, 0)


def _connect(stage: Stage) -> None:
    stage.call("connect", stage.stream.fileno(), stage.address, len(stage.address))


def _reach(stage: Stage) -> None:
    made = stage.call("socket", socket.AF_INET, socket.SOCK_STREAM, 0)
    stage.call("connect", made, stage.address, len(stage.address))


def _send(stage: Stage) -> None:
    stage.call("sendto", stage.datagram.fileno(), b"x", 1, 0, stage.address, len(stage.address))


def _execute(stage: Stage) -> None:
    words = [os.fsencode(sys.executable), b"-I", b"-S", b"-c", b"raise SystemExit(42)", None]
    arguments = (ctypes.c_char_p * len(words))(*words)
    stage.call("execve", words[0], arguments, (ctypes.c_char_p * 1)(None))


def _fork(stage: Stage) -> None:
    if stage.call("clone", int(signal.SIGCHLD), 0, 0, 0, 0) == 0:
        os._exit(0)


def _fork_anew(stage: Stage) -> None:
    arguments = struct.pack("=11Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, 0)
    if stage.call("clone3", arguments, len(arguments)) == 0:
        os._exit(0)


def _trace_agent(stage: Stage) -> None:
    stage.call("ptrace", _PTRACE_SEIZE, stage.agent_pid, 0, 0)


def _read_agent(stage: Stage) -> None:
    length = len(stage.agent_memory)
    copy = ctypes.create_string_buffer(length)
    local = struct.pack("=QQ", ctypes.addressof(copy), length)
    remote = struct.pack("=QQ", ctypes.addressof(stage.agent_memory), length)
    stage.call("process_vm_readv", stage.agent_pid, local, 1, remote, 1, 0)


def _open(path: Callable[[Stage], bytes], flags: int) -> Callable[[Stage], object]:
    return lambda stage: stage.call("openat", _AT_FDCWD, path(stage), flags, 0o600)


def _map(length: Callable[[Stage], int], protection: int) -> Callable[[Stage], object]:
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
    return lambda stage: stage.call("mmap", 0, length(stage), protection, flags, -1, 0)


def _spin(stage: Stage) -> None:
    until = time.process_time() + stage.bounds.cpu_seconds + _SPIN_SECONDS_OVER
    while time.process_time() < until:
        pass


def _raise_limit(stage: Stage) -> None:
    no_limit = struct.pack("=qq", resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    stage.call("prlimit64", 0, int(resource.RLIMIT_AS), no_limit, 0)


PROBES: Final = (
    Probe(name="socket_ipv4", what="make an IPv4 socket", act=_socket(socket.AF_INET)),
    Probe(name="socket_ipv6", what="make an IPv6 socket", act=_socket(socket.AF_INET6)),
    Probe(name="socket_unix", what="make a UNIX socket", act=_socket(socket.AF_UNIX)),
    Probe(name="socket_netlink", what="make a netlink socket", act=_socket(16, socket.SOCK_RAW)),
    Probe(name="reach", what="make a socket and reach a local service with it", act=_reach),
    Probe(name="connect", what="connect a socket that was open before", act=_connect),
    Probe(name="send", what="send a datagram by a socket that was open before", act=_send),
    Probe(name="exec", what="start a program", act=_execute),
    Probe(name="fork", what="make a process (clone)", act=_fork),
    Probe(name="fork_clone3", what="make a process (clone3)", act=_fork_anew),
    Probe(name="memory_file", what="make a file in memory", act=lambda s: s.call("memfd_create", b"x", _MFD_CLOEXEC)),
    Probe(
        name="new_code",
        what="make memory that is writable and executable",
        act=_map(lambda _: mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC),
        is_for_all=False,
    ),
    Probe(name="trace_agent", what="trace the agent", act=_trace_agent),
    Probe(name="read_agent_memory", what="read the agent's memory", act=_read_agent),
    Probe(name="signal_agent", what="send the agent a signal (kill)", act=lambda s: s.call("kill", s.agent_pid, 0)),
    Probe(
        name="signal_agent_thread",
        what="send the agent a signal (tgkill)",
        act=lambda s: s.call("tgkill", s.agent_pid, s.agent_pid, 0),
    ),
    Probe(name="read_outside", what="read a file of the system", act=_open(lambda _: b"/etc/passwd", os.O_RDONLY)),
    Probe(name="read_secret", what="read the identity key", act=_open(lambda s: s.secret, os.O_RDONLY)),
    Probe(name="list_folder", what="list a folder", act=_open(lambda _: b"/", os.O_RDONLY | os.O_DIRECTORY)),
    Probe(name="new_file", what="make a file", act=_open(lambda s: s.new_file, os.O_WRONLY | os.O_CREAT)),
    Probe(name="write_outside", what="change a file", act=_open(lambda s: s.doomed, os.O_WRONLY)),
    Probe(name="delete", what="delete a file", act=lambda s: s.call("unlinkat", _AT_FDCWD, s.doomed, 0)),
    Probe(
        name="memory",
        what="take more memory than allowed",
        act=_map(lambda s: s.bounds.memory_bytes + 64 * 1024**2, mmap.PROT_READ | mmap.PROT_WRITE),
    ),
    Probe(name="processor", what="spin for longer than allowed", act=_spin),
    Probe(
        name="output_size",
        what="write more than allowed",
        act=lambda s: s.call("pwrite64", s.output, b"x", 1, s.bounds.file_bytes),
    ),
    Probe(name="raise_limit", what="raise its own limit on memory", act=_raise_limit),
    Probe(name="io_uring", what="make system calls by a ring", act=lambda s: s.call("io_uring_setup", 1, b"\0" * 120)),
    Probe(name="user_namespace", what="become root of a namespace", act=lambda s: s.call("unshare", _CLONE_NEWUSER)),
    Probe(
        name="keyring",
        what="use the kernel's key store",
        act=lambda s: s.call("keyctl", _KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0),
    ),
)
