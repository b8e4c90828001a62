"""One JSON object a line on standard error. Never a key, a device code, a position, or a whole replica token."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import TextIO

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
TOKEN_CHARS_SHOWN = 8


class Log:
    """Writes events; `car` names the car in every line, so that lines of several cars can be told apart."""

    def __init__(self, *, level: str = "info", car: str = "", stream: TextIO | None = None) -> None:
        self._threshold = LEVELS[level]
        self._car = car
        self._stream = stream or sys.stderr

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

    def _write(self, level: str, event: str, fields: dict[str, object]) -> None:
        if LEVELS[level] < self._threshold:
            return
        token = fields.get("token")
        if isinstance(token, str):
            fields["token"] = token[:TOKEN_CHARS_SHOWN]
        line = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "level": level, "event": event}
        if self._car:
            line["car"] = self._car
        # One write call a line: threads do not interleave, and a closed terminal must not stop the work.
        try:
            self._stream.write(json.dumps(line | fields, default=str) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            pass
