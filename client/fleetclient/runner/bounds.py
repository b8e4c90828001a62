"""How much a runner may use. Imported by both sides: the runner sets the limits, the agent moves one of them."""

from __future__ import annotations

from dataclasses import dataclass

from fleetclient.wire import Contract

OPEN_FILES_MAX = 64
STACK_BYTES = 8 * 1024**2
# The runtime's own growth while it loads and runs any model: thread stacks, code, buffers of its allocators.
HEADROOM_BYTES = 256 * 1024**2
FILE_HEADROOM_BYTES = 64 * 1024
# A partial output has a record of 28 bytes at most twenty times a second beside the rows.
FILE_BYTES_A_SECOND = 1024
CPU_HEADROOM_SECONDS = 30
# The soft limit, which the agent moves from unit to unit, ends with a signal that tells; this one is for a life.
CPU_SECONDS_A_LIFE = 14 * 24 * 3600


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """What a process may use beyond what it has used: address space, processor seconds; and the size of a file."""

    memory_bytes: int
    file_bytes: int
    cpu_seconds: int

    @classmethod
    def of(cls, contract: Contract, *, memory_bytes: int) -> Bounds:
        """Return the bounds of one unit of a contract, with room for the runtime itself."""
        limits = contract.limits
        return cls(
            memory_bytes=memory_bytes + HEADROOM_BYTES,
            file_bytes=limits.output_bytes_max + FILE_HEADROOM_BYTES + FILE_BYTES_A_SECOND * limits.seconds,
            cpu_seconds=limits.seconds * contract.session.intra_op_threads + CPU_HEADROOM_SECONDS,
        )
