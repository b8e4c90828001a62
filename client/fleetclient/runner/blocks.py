"""The child's side of a partial output: append finished rows, know what survived, put the document together.

Rows are written at once, so that a killed process loses no finished batch, and forced to disk by a second thread, so
that the model does not wait for the disk: after a power cut at most the block before the present one is missing.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np

from fleetclient.runner import checkpoints
from fleetclient.runner.compute import Array
from fleetclient.runner.document import Layout

# Batches shorter than this share a record and a message to the agent.
WRITE_SECONDS = 0.05
# Compute time between two requests to force what is written to disk.
DURABLE_SECONDS = 0.25
_COPY_BYTES = 1024 * 1024


class BlockLog:
    """A partial output, open for appending. Rows of earlier runs that are whole are kept, the rest is cut off."""

    def __init__(self, descriptor: int, *, fingerprint: bytes, layout: Layout, rows: int, syncer: Syncer) -> None:
        self._descriptor = descriptor
        self._layout = layout
        self._syncer = syncer
        self._pending: list[Sequence[Array]] = []
        self._records = list(self._surviving(fingerprint, rows))
        self._written_at = self._synced_at = time.monotonic()
        self._pending_rows = 0
        self._start_writing(fingerprint)

    @property
    def rows_done(self) -> int:
        """Rows that are written."""
        return self._records[-1].rows_done if self._records else 0

    @property
    def cpu_seconds(self) -> float:
        """Processor time that the written rows took, over all runs."""
        return self._records[-1].cpu_seconds if self._records else 0.0

    def append(self, outputs: Sequence[Array], *, cpu_seconds: float, is_last: bool) -> bool:
        """Take the outputs of one more batch, in the contract's order; True if rows were written.

        Raises OSError when the disk is full or the file reached its limit.
        """
        self._pending.append(outputs)
        self._pending_rows += len(outputs[0])
        now = time.monotonic()
        if not is_last and now - self._written_at < WRITE_SECONDS:
            return False
        self._write(cpu_seconds)
        self._written_at = now
        if now - self._synced_at >= DURABLE_SECONDS and not is_last:
            self._syncer.request(self._descriptor)
            self._synced_at = now
        return True

    def copy_document(self, target: int, salt: bytes) -> str:
        """Write the whole document to the descriptor `target`, and return its salted digest.

        All rows must be written. Reads one piece at a time.
        """
        digest = hashlib.sha256(salt)
        os.lseek(target, 0, os.SEEK_SET)
        for piece in self._document_pieces():
            digest.update(piece)
            write_all(target, [memoryview(piece)])
        return digest.hexdigest()

    def output(self, index: int) -> bytes:
        """Return all rows of one output, as they lie in memory."""
        return b"".join(self._output_pieces(index))

    def _surviving(self, fingerprint: bytes, rows: int) -> Iterator[checkpoints.Record]:
        if checkpoints.read_fingerprint(self._descriptor) != fingerprint:
            return
        row_bytes, before = sum(self._layout.row_bytes), 0
        for record in checkpoints.walk(self._descriptor):
            fits = record.rows_done <= rows and record.payload_bytes == (record.rows_done - before) * row_bytes
            if not fits or not checkpoints.is_intact(self._descriptor, record):
                return
            yield record
            before = record.rows_done

    def _start_writing(self, fingerprint: bytes) -> None:
        end = self._records[-1].end if self._records else 0
        os.ftruncate(self._descriptor, end)
        os.lseek(self._descriptor, end, os.SEEK_SET)
        if not end:
            write_all(self._descriptor, [memoryview(checkpoints.MAGIC + fingerprint)])

    def _write(self, cpu_seconds: float) -> None:
        payload = [_joined([batch[index] for batch in self._pending]) for index in range(len(self._layout.row_bytes))]
        done = self.rows_done + self._pending_rows
        head = checkpoints.record_head(payload, rows_done=done, cpu_seconds=cpu_seconds)
        at = self._records[-1].end if self._records else checkpoints.HEADER_BYTES
        write_all(self._descriptor, [memoryview(head), *payload])
        self._records.append(
            checkpoints.Record(
                payload_at=at + checkpoints.RECORD_BYTES,
                payload_bytes=sum(piece.nbytes for piece in payload),
                rows_done=done,
                cpu_seconds=cpu_seconds,
            )
        )
        self._pending, self._pending_rows = [], 0

    def _document_pieces(self) -> Iterator[bytes]:
        yield self._layout.head
        for index in self._layout.order:
            yield from self._output_pieces(index)

    def _output_pieces(self, index: int) -> Iterator[bytes]:
        row_bytes, earlier, before = self._layout.row_bytes[index], sum(self._layout.row_bytes[:index]), 0
        for record in self._records:
            rows = record.rows_done - before
            at = record.payload_at + rows * earlier
            yield from _read_pieces(self._descriptor, at, rows * row_bytes)
            before = record.rows_done


class Syncer:
    """One thread that forces a file to disk; the asker waits only while the request before is not done.

    Started after the walls went up: a thread from before would be outside of some.
    """

    def __init__(self) -> None:
        self._asked = threading.Semaphore(0)
        self._idle = threading.Semaphore(1)
        self._descriptor = -1
        self._error: OSError | None = None
        threading.Thread(target=self._work, name="syncer", daemon=True).start()

    def request(self, descriptor: int) -> None:
        """Have the file forced to disk; raises the OSError of the request before, if there was one."""
        self.wait()
        self._idle.acquire()
        self._descriptor = descriptor
        self._asked.release()

    def wait(self) -> None:
        """Wait until nothing is being forced; afterwards the descriptor may be closed. Raises OSError as `request`."""
        with self._idle:
            error, self._error = self._error, None
        if error is not None:
            raise error

    def _work(self) -> None:
        while True:
            self._asked.acquire()
            try:
                os.fdatasync(self._descriptor)
            except OSError as error:
                self._error = error
            self._idle.release()


def write_all(descriptor: int, pieces: list[memoryview]) -> None:
    """Write all of the pieces, however often the kernel takes only a part."""
    waiting = [piece for piece in pieces if piece.nbytes]
    while waiting:
        written = os.writev(descriptor, waiting)
        while waiting and written >= waiting[0].nbytes:
            written -= waiting.pop(0).nbytes
        if waiting:
            waiting[0] = waiting[0][written:]


def _joined(parts: list[Array]) -> memoryview:
    whole = np.ascontiguousarray(parts[0] if len(parts) == 1 else np.concatenate(parts))
    return memoryview(whole.reshape(-1).view(np.uint8))  # type: ignore[arg-type]  # numpy's stubs know no buffers


def _read_pieces(descriptor: int, at: int, length: int) -> Iterator[bytes]:
    while length:
        piece = os.pread(descriptor, min(_COPY_BYTES, length), at)
        if not piece:
            raise OSError("the partial output lost rows that were written")
        yield piece
        at, length = at + len(piece), length - len(piece)
