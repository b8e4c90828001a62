"""The log: one JSON object a line on standard error or in a file, or lines for people. Every state change is in it.

Never a key, a device code, a password, a position, a network's name in clear or a whole replica token.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from fleetclient.redaction import TOKEN_CHARS_SHOWN, Redactor

if TYPE_CHECKING:
    from fleetclient.config import Config

__all__ = ["FORMATS", "LEVELS", "TOKEN_CHARS_SHOWN", "Log", "RotatingFile", "make_redactor", "open_log"]

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
FORMATS = ("json", "text")
FILES_KEPT = 3


class Stream(Protocol):
    """Where lines go."""

    def write(self, text: str, /) -> object:
        """Take one whole line."""
        ...

    def flush(self) -> object:
        """Hand on what was written."""
        ...


class Log:
    """Writes events; `car` names the car in every line, so that lines of several cars can be told apart."""

    def __init__(
        self,
        *,
        level: str = "info",
        car: str = "",
        stream: Stream | None = None,
        format: str = "json",  # noqa: A002 - the configuration's own word
        redactor: Redactor | None = None,
    ) -> None:
        self._threshold = LEVELS[level]
        self._car = car
        self._stream: Stream = stream or sys.stderr
        self._is_json = format == "json"
        self.redactor = redactor or Redactor()

    def debug(self, event: str, **fields: object) -> None:
        """Write something only a developer wants to see."""
        self._write("debug", event, fields)

    def info(self, event: str, **fields: object) -> None:
        """Write something that happened as it should."""
        self._write("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Write something that went wrong and will be tried again."""
        self._write("warning", event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Write something that went wrong for good."""
        self._write("error", event, fields)

    def set_level(self, level: str) -> None:
        """Change what is written, after the configuration was read anew."""
        self._threshold = LEVELS[level]

    def _write(self, level: str, event: str, fields: dict[str, object]) -> None:
        if LEVELS[level] < self._threshold:
            return
        line: dict[str, object] = {"ts": _now(), "level": level, "event": event}
        if self._car:
            line["car"] = self._car
        line |= {name: self.redactor.redact(value, name=name) for name, value in fields.items()}
        text = json.dumps(line, default=str) if self._is_json else _as_text(line)
        # One write call a line: threads do not interleave, and a closed terminal must not stop the work.
        with suppress(OSError, ValueError):
            self._stream.write(text + "\n")
            self._stream.flush()


class RotatingFile:
    """A log file that its user alone can read, moved to `<name>.1`, `<name>.2`, … before it grows over a size.

    A disk that is full loses lines, never work.
    """

    def __init__(self, path: Path, *, bytes_max: int, files_kept: int = FILES_KEPT) -> None:
        self._path = path
        self._bytes_max = bytes_max
        self._files_kept = files_kept
        self._lock = threading.Lock()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = _Appender(path)

    def write(self, text: str, /) -> None:
        """Append one line."""
        line = text.encode()
        with self._lock:
            if self._file.tell() and self._file.tell() + len(line) > self._bytes_max:
                self._rotate()
            self._file.write(line)

    def flush(self) -> None:
        """Do nothing: lines are written through."""

    def _rotate(self) -> None:
        self._file.close()
        for number in range(self._files_kept, 0, -1):
            older = self._path if number == 1 else _numbered(self._path, number - 1)
            with suppress(FileNotFoundError):
                older.replace(_numbered(self._path, number))
        if not self._files_kept:
            self._path.unlink(missing_ok=True)
        self._file = _Appender(self._path)


class _Appender:
    """An unbuffered file in append mode with its size counted."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._descriptor).st_size

    def tell(self) -> int:
        """Return the size so far."""
        return self._size

    def write(self, line: bytes) -> None:
        """Append."""
        self._size += os.write(self._descriptor, line)

    def close(self) -> None:
        """Close."""
        os.close(self._descriptor)


def list_log_files(path: Path) -> list[Path]:
    """Return a log file and its older ones that exist, the oldest first."""
    older = [_numbered(path, number) for number in range(100, 0, -1)]
    return [each for each in (*older, path) if each.is_file()]


def open_log(config: Config) -> Log:
    """Return the log that the configuration asks for, which knows what the owner wants hidden."""
    stream = open_stream(file=config.log_file, bytes_max=config.log_file_bytes_max)
    redactor = make_redactor(config)
    return Log(level=config.log_level, car=config.name, stream=stream, format=config.log_format, redactor=redactor)


def make_redactor(config: Config) -> Redactor:
    """Return a redactor that knows this car's secrets: passwords, and the names of its networks and places."""
    redactor = Redactor()
    for name in config.network.allowed_ssids:
        redactor.hide_network(name)
    for address in config.network.allowed_gateways:
        redactor.hide(address)
    brokers = (config.vehicle.teslamate, config.vehicle.mqtt, config.home_assistant)
    redactor.hide(config.home_assistant.password)
    for broker in brokers:
        if broker.password_file:
            with suppress(OSError, UnicodeDecodeError):
                redactor.hide((config.folder / broker.password_file).read_text("utf-8").strip())
    return redactor


def open_stream(*, file: str, bytes_max: int) -> Stream:
    """Return where the configuration wants its log."""
    return RotatingFile(Path(file), bytes_max=bytes_max) if file else sys.stderr


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _as_text(line: dict[str, object]) -> str:
    head = f"{line.pop('ts')} {str(line.pop('level')).upper():7} {line.pop('event')}"
    pairs = (f"{name}={json.dumps(value, default=str, ensure_ascii=False)}" for name, value in line.items())
    return " ".join((head, *pairs))
