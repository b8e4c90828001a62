"""A JSON document in a file, or one a line on standard input: the door for whoever can write a script.

Each document is the whole truth: a signal it does not name is unknown. What cannot be read changes nothing, so that a
half-written file leaves the last good one in place, which then grows old. Contents are never quoted in messages.
"""

from __future__ import annotations

import json
import os
import select
import stat
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

from fleetclient.clock import boot_seconds
from fleetclient.vehicle.board import Board
from fleetclient.vehicle.checks import SourceInvalid, suggest
from fleetclient.vehicle.signals import SIGNALS, Signals, SignalValue
from fleetclient.vehicle.values import as_signal

OBSERVED_AT = "observed_at"
DOCUMENT_BYTES_MAX = 64 * 1024
# Clocks of two programs on one machine agree; on two machines, a little less. Beyond, a time is not to be trusted.
FUTURE_SECONDS_MAX = 2.0
UNIX_SECONDS_MAX = 1e11
# A file's time moves in steps of some milliseconds: one that was just written may be written again within its step.
SETTLED_SECONDS = 0.1


class DocumentRefused(SourceInvalid):
    """A document that says nothing we may use; the text says why, without its content."""


def read_document(content: bytes) -> tuple[dict[str, SignalValue | None], float | None]:
    """Return the signals in a document and its `observed_at` in Unix seconds; raises DocumentRefused.

    A value that is not of the signal's type, or not plausible, is unknown; a name that is not a signal refuses all.
    """
    if len(content) > DOCUMENT_BYTES_MAX:
        raise DocumentRefused(f"the document is larger than {DOCUMENT_BYTES_MAX} bytes")
    try:
        document = json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise DocumentRefused("the document is not JSON (half-written?); replace the file in one step") from None
    if not isinstance(document, dict):
        raise DocumentRefused('the document must be an object such as {"parked": true, "plugged_in": true}')
    for name in document:
        if name not in SIGNALS and name != OBSERVED_AT:
            raise DocumentRefused(f"{name[:40]!r} is not a signal; {suggest(name, SIGNALS)}")
    observed_at = document.pop(OBSERVED_AT, None)
    if observed_at is not None and not _is_unix_time(observed_at):
        raise DocumentRefused(f"{OBSERVED_AT} must be Unix time in seconds")
    return {name: as_signal(name, value) for name, value in document.items()}, observed_at


def _refuse_constant(_word: str) -> None:
    raise ValueError("NaN and Infinity are not JSON")


def _is_unix_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= UNIX_SECONDS_MAX


class Intake:
    """Puts documents on the board, with their times mapped from the wall clock to the boot clock."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self.problem = "no document yet"

    def take(self, content: bytes, *, written_at: float) -> None:
        """Show what a document says; `written_at` (Unix seconds) stands in for an `observed_at` that it lacks."""
        try:
            values, observed_at = read_document(content)
        except DocumentRefused as error:
            self.problem = str(error)
            return
        age = time.time() - (written_at if observed_at is None else observed_at)
        if age < -FUTURE_SECONDS_MAX:
            values = dict.fromkeys(values)
            self.problem = f"the document is dated in the future: its {OBSERVED_AT}, or this clock, is wrong"
        else:
            self.problem = ""
        now = boot_seconds()
        self._board.show({name: self._board.reading(each, now - max(0.0, age)) for name, each in values.items()})


class FileSource:
    """Looks at a file every `poll_seconds` and reads it when it is another file, or was written to."""

    def __init__(self, path: Path, *, poll_seconds: float) -> None:
        self._path = path
        self._poll_seconds = poll_seconds
        self._board = Board("file")
        self._intake = Intake(self._board)
        self._seen: tuple[int, int, int] | None = None
        self._stopping = Event()
        self._thread = Thread(target=self._watch, name="signals-file", daemon=True)

    @property
    def problem(self) -> str:
        """Why signals are missing or old, in a sentence for the owner; empty when all is well."""
        return f"{self._path}: {self._intake.problem}" if self._intake.problem else ""

    def start(self, wake: Callable[[], None]) -> None:
        """Begin to watch; a file that is not there yet is waited for."""
        self._board.ring_with(wake)
        self._thread.start()

    def read(self, now_elapsed: float) -> Signals:
        """Return the latest snapshot."""
        return self._board.read()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        while not self._stopping.is_set():
            self._look()
            self._stopping.wait(self._poll_seconds)

    def _look(self) -> None:
        try:
            if _identify(self._path.stat()) == self._seen:
                return
            with open(self._path, "rb", opener=_open_at_once) as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    self._seen, self._intake.problem = None, "this is no file; a program can write to standard input"
                    return
                content = file.read(DOCUMENT_BYTES_MAX + 1)
        except OSError as error:
            self._seen, self._intake.problem = None, str(error.strerror)
            return
        is_settled = abs(time.time() - status.st_mtime) > SETTLED_SECONDS
        self._seen = _identify(status) if is_settled else None
        self._intake.take(content, written_at=status.st_mtime)


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting: a named pipe nobody writes to would hold this thread, and the agent's end, for ever."""
    return os.open(path, flags | os.O_NONBLOCK)


def _identify(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_mtime_ns, status.st_size


class StreamSource:
    """Reads one document a line from a file descriptor; at its end the last one stays and grows old."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._board = Board("file")
        self._intake = Intake(self._board)
        self._rest = b""
        self._wake_reader, self._wake_writer = os.pipe()
        self._thread = Thread(target=self._listen, name="signals-stdin", daemon=True)

    @property
    def problem(self) -> str:
        """Why signals are missing or old, in a sentence for the owner; empty when all is well."""
        return f"standard input: {self._intake.problem}" if self._intake.problem else ""

    def start(self, wake: Callable[[], None]) -> None:
        """Begin to read."""
        self._board.ring_with(wake)
        self._thread.start()

    def read(self, now_elapsed: float) -> Signals:
        """Return the latest snapshot."""
        return self._board.read()

    def stop(self) -> None:
        """End the thread; what was not read stays unread."""
        if self._wake_writer < 0:
            return
        os.close(self._wake_writer)
        self._wake_writer = -1
        if self._thread.is_alive():
            self._thread.join()
        os.close(self._wake_reader)

    def _listen(self) -> None:
        while True:
            ready, _, _ = select.select([self._descriptor, self._wake_reader], [], [])
            if self._wake_reader in ready:
                return
            try:
                chunk = os.read(self._descriptor, DOCUMENT_BYTES_MAX)
            except OSError as error:
                self._intake.problem = str(error.strerror)
                return
            if not chunk:
                self._intake.problem = "the stream has ended"
                return
            self._take_lines(chunk)

    def _take_lines(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        # A line without an end is cut, and refused when its end comes; memory stays bounded.
        self._rest = self._rest[: DOCUMENT_BYTES_MAX + 1]
        for line in lines:
            if line.strip():
                self._intake.take(line, written_at=time.time())
