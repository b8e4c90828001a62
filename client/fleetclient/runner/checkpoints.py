"""The partial output of a unit: a file that grows by one record a block, and is worth exactly what is whole in it.

    8 bytes  magic
    32 bytes fingerprint of everything the rows depend on: contract, lease, runtime
    records: 8 bytes payload length, 8 bytes rows done so far, 8 bytes processor seconds so far (double), 4 bytes CRC-32
             of those three and the payload; then the payload, which is the rows of each output, in the contract's order

All numbers are little-endian. A torn tail, left by a power cut, is cut off by the next runner, which goes on with the
next row. Written by the runner's child; the agent opens the file and may ask how far it has come.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fleetclient.wire import Contract
from fleetclient.wire.contract import dump_contract

MAGIC = b"FCPART\x01\n"
HEADER_BYTES = len(MAGIC) + 32
_RECORD = struct.Struct("<QQdI")
_COVERED = struct.Struct("<QQd")
RECORD_BYTES = _RECORD.size
_READ_BYTES = 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One whole record: where its payload lies, and how far the unit had come with it."""

    payload_at: int
    payload_bytes: int
    rows_done: int
    cpu_seconds: float

    @property
    def end(self) -> int:
        """Where the next record begins."""
        return self.payload_at + self.payload_bytes


def part_path(output_path: Path) -> Path:
    """Return where the partial output of a unit lies, from where its output will be."""
    return output_path.with_suffix(".part")


def fingerprint(contract: Contract, *, token: str, rows: int, input_digest: str, runtime: str) -> bytes:
    """Return 32 bytes that differ wherever rows done earlier would not be the rows done now."""
    document = {
        "contract": dump_contract(contract),
        "token": token,
        "rows": rows,
        "input_digest": input_digest,
        "runtime": runtime,
    }
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).digest()


def rows_done(path: Path) -> int:
    """Return how many rows the partial output at `path` holds; 0 where there is none.

    Looks at the heads of all records and checks the last whole one, which is the only one a power cut can have harmed;
    the runner checks every byte before it builds on them.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        records = list(walk(descriptor))
        while records and not is_intact(descriptor, records[-1]):
            records.pop()
    finally:
        os.close(descriptor)
    return records[-1].rows_done if records else 0


def read_fingerprint(descriptor: int) -> bytes | None:
    """Return the fingerprint at the head of a partial output, or None where the file is none."""
    head = os.pread(descriptor, HEADER_BYTES, 0)
    return head[len(MAGIC) :] if len(head) == HEADER_BYTES and head.startswith(MAGIC) else None


def walk(descriptor: int) -> Iterator[Record]:
    """Yield the records that are there in full length and count upwards; their payloads are not looked at."""
    size = os.lseek(descriptor, 0, os.SEEK_END)
    at, before = HEADER_BYTES, 0
    if read_fingerprint(descriptor) is None:
        return
    while at + RECORD_BYTES <= size:
        length, done, cpu_seconds, _ = _RECORD.unpack(os.pread(descriptor, RECORD_BYTES, at))
        record = Record(payload_at=at + RECORD_BYTES, payload_bytes=length, rows_done=done, cpu_seconds=cpu_seconds)
        if done <= before or record.end > size:
            return
        yield record
        at, before = record.end, done


def is_intact(descriptor: int, record: Record) -> bool:
    """Read a record's payload and say if its checksum is right."""
    head = os.pread(descriptor, RECORD_BYTES, record.payload_at - RECORD_BYTES)
    length, done, cpu_seconds, checksum_wanted = _RECORD.unpack(head)
    checksum, at = zlib.crc32(_COVERED.pack(length, done, cpu_seconds)), record.payload_at
    while at < record.end:
        piece = os.pread(descriptor, min(_READ_BYTES, record.end - at), at)
        if not piece:
            return False
        checksum, at = zlib.crc32(piece, checksum), at + len(piece)
    return bool(checksum == checksum_wanted)


def record_head(payload: list[memoryview], *, rows_done: int, cpu_seconds: float) -> bytes:
    """Return what stands before a payload."""
    length = sum(piece.nbytes for piece in payload)
    checksum = zlib.crc32(_COVERED.pack(length, rows_done, cpu_seconds))
    for piece in payload:
        checksum = zlib.crc32(piece, checksum)
    return _RECORD.pack(length, rows_done, cpu_seconds, checksum)
