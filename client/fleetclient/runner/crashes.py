"""Why runners ended, and models that are refused because theirs ended badly too often.

The agent notes each crash with the model's hash; after three within a day the model is refused for a day.
"""

from __future__ import annotations

import json
import signal
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from fleetclient.files import write_durably

CRASHES_MAX = 3
# Crashes that lie further back than this are forgotten; a refusal lasts as long.
FORGIVEN_SECONDS = 24 * 3600.0
_MODELS_MAX = 1000
_MEMORY_WORDS = ("bad_alloc", "MemoryError", "length_error")


class CrashReason(StrEnum):
    """How a runner ended."""

    ENDED = "ended"  # by itself, with status 0: the agent closed its end, or the model could not be loaded
    PROCESSOR_TIME = "processor_time"  # SIGXCPU: the kernel's limit
    BREACH = "breach"  # SIGSYS: a system call that only an attack makes
    MEMORY = "memory"  # killed by the kernel when memory was short, or by its own allocator
    FAULT = "fault"  # SIGSEGV, SIGBUS, SIGILL, SIGFPE: wrong memory or instructions
    ABORT = "abort"  # SIGABRT: the runtime found itself in a state it does not go on from
    OTHER = "other"  # another signal or status


_BY_SIGNAL = {
    signal.SIGXCPU: CrashReason.PROCESSOR_TIME,
    signal.SIGSYS: CrashReason.BREACH,
    # The agent kills as well, but then it listens no more: a SIGKILL that it hears of came from the kernel.
    signal.SIGKILL: CrashReason.MEMORY,
    signal.SIGSEGV: CrashReason.FAULT,
    signal.SIGBUS: CrashReason.FAULT,
    signal.SIGILL: CrashReason.FAULT,
    signal.SIGFPE: CrashReason.FAULT,
    signal.SIGABRT: CrashReason.ABORT,
}


def name_crash(returncode: int, last_words: str) -> CrashReason:
    """Return the reason for a status as subprocess gives it, and the end of what was printed."""
    if returncode == 0:
        return CrashReason.ENDED
    if any(word in last_words for word in _MEMORY_WORDS):
        return CrashReason.MEMORY
    return _BY_SIGNAL.get(-returncode, CrashReason.OTHER)  # type: ignore[call-overload, no-any-return]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelCrashes:
    """What is remembered of one model: times of crashes (Unix seconds, UTC) and until when it is refused."""

    crashed_at: tuple[float, ...] = ()
    last_reason: str = ""
    refused_until: float | None = None


class CrashBook:
    """A small file in the state folder, replaced as a whole. `now` is Unix time: the book outlives reboots."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._models = _read(path)

    def record(self, sha256: str, reason: CrashReason, *, now: float) -> ModelCrashes:
        """Note a crash of a model's runner and return what is known of the model now."""
        before = self.get(sha256, now=now)
        times = (*(at for at in before.crashed_at if 0 <= now - at < FORGIVEN_SECONDS), now)
        refused_until = now + FORGIVEN_SECONDS if len(times) >= CRASHES_MAX else before.refused_until
        entry = ModelCrashes(crashed_at=times, last_reason=reason, refused_until=refused_until)
        self._models.pop(sha256, None)
        self._models[sha256] = entry
        while len(self._models) > _MODELS_MAX:
            del self._models[next(iter(self._models))]
        write_durably(self._path, json.dumps({name: asdict(each) for name, each in self._models.items()}).encode())
        return entry

    def get(self, sha256: str, *, now: float) -> ModelCrashes:
        """Return what is remembered of a model; nothing once its day of refusal is over."""
        entry = self._models.get(sha256, ModelCrashes())
        if entry.refused_until is not None and not self._holds(entry.refused_until, now):
            return ModelCrashes()
        return entry

    def is_refused(self, sha256: str, *, now: float) -> bool:
        """Return True while a model crashed too often too lately."""
        return self.get(sha256, now=now).refused_until is not None

    def list_refused(self, *, now: float) -> dict[str, ModelCrashes]:
        """Return the models that are refused now, by hash: for `doctor` and the support bundle."""
        return {sha256: self.get(sha256, now=now) for sha256 in self._models if self.is_refused(sha256, now=now)}

    @staticmethod
    def _holds(refused_until: float, now: float) -> bool:
        # A clock that was set back must not make a day longer.
        return now < refused_until <= now + FORGIVEN_SECONDS


def _read(path: Path) -> dict[str, ModelCrashes]:
    """Return what the file holds. One that cannot be read is treated as empty: its loss costs three more crashes."""
    try:
        document = json.loads(path.read_bytes())
        return {
            sha256: ModelCrashes(**{**entry, "crashed_at": tuple(entry["crashed_at"])})
            for sha256, entry in document.items()
        }
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}
