"""A small interpreter of seccomp programs, so that a filter for another processor can be asked without having one."""

from __future__ import annotations

import struct
from collections.abc import Sequence

# The classes and operations of classic BPF that libseccomp writes.
_LOAD_WORD, _JUMP, _RETURN = 0x20, 0x05, 0x06
_COMPARE = {
    0x15: lambda a, k: a == k,
    0x25: lambda a, k: a > k,
    0x35: lambda a, k: a >= k,
    0x45: lambda a, k: bool(a & k),
}
_AND = 0x54


def run(program: bytes, *, arch: int, number: int, arguments: Sequence[int] = ()) -> int:
    """Return the action that the filter takes for one system call (little-endian `seccomp_data`)."""
    data = struct.pack("<iIQ6Q", number, arch, 0, *[*arguments, *[0] * (6 - len(arguments))])
    code = list(struct.iter_unpack("<HBBI", program))
    at, accumulator = 0, 0
    while True:
        operation, if_true, if_false, constant = code[at]
        at += 1
        if operation == _LOAD_WORD:
            (accumulator,) = struct.unpack_from("<I", data, constant)
        elif operation == _JUMP:
            at += constant
        elif operation == _AND:
            accumulator &= constant
        elif operation in _COMPARE:
            at += if_true if _COMPARE[operation](accumulator, constant) else if_false
        elif operation == _RETURN:
            return int(constant)
        else:
            raise AssertionError(f"operation {operation:#x} is not known here")
