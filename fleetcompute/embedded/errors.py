"""The one error of this package: a sentence for the person at the terminal."""

from __future__ import annotations

from pathlib import Path


class EmbeddedError(Exception):
    """Something could not be started or found; the text is one sentence that says what, and where the log is."""


def log_tail(log_path: Path, *, wanted: tuple[str, ...] = ("FATAL", "PANIC", "rror", "refuse")) -> str:
    """Return the line of a log that most likely says why a program ended: the last that has a `wanted` word.

    It comes without a full stop, to be quoted in a sentence.
    """
    try:
        lines = [line.strip() for line in log_path.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        return "nothing was logged"
    telling = [line for line in lines[-50:] if any(word in line for word in wanted)]
    return (telling or lines or ["nothing was logged"])[-1].rstrip(".")
