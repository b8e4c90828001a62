"""Watches a runner from outside, every fraction of a millisecond, until none of its threads can run."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from bench.client.memory import family

SAMPLE_SECONDS: Final = 0.0004
AFTERWARDS_SECONDS: Final = 0.05
# Stopped, traced, dead in their various ways: a thread in none of these can burn cycles.
_STILL: Final = frozenset("TtZXx")


class RunnerWatch:
    """All threads of a runner and of its children, by files held open; use it as a context manager."""

    def __init__(self, runner_pid: int) -> None:
        self._pids = family(runner_pid)
        self._states: list[int] = []
        self._times: list[int] = []

    def __enter__(self) -> Self:
        for pid in self._pids:
            for task in Path(f"/proc/{pid}/task").iterdir():
                with suppress(FileNotFoundError):
                    self._states.append(os.open(task / "stat", os.O_RDONLY))
                    self._times.append(os.open(task / "schedstat", os.O_RDONLY))
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in (*self._states, *self._times):
            os.close(descriptor)

    @property
    def is_there(self) -> bool:
        """Whether there is a runner."""
        return bool(self._states)

    def is_still(self) -> bool:
        """Return True when no thread can run."""
        return all(_letter(descriptor) in _STILL for descriptor in self._states)

    def burnt_seconds(self) -> float:
        """Return the processor time of all threads; those that are gone count nothing."""
        return sum(_nanoseconds(descriptor) for descriptor in self._times) / 1e9

    def wait_still(self, *, seconds: float) -> float | None:
        """Return the moment (monotonic clock) at which it was seen still for the first time; None when it never was."""
        give_up_at = time.monotonic() + seconds
        while not self.is_still():
            if time.monotonic() > give_up_at:
                return None
            time.sleep(SAMPLE_SECONDS)
        return time.monotonic()

    def burns_afterwards(self) -> float:
        """Return how much processor time is still spent in the moments after it was seen still."""
        before = self.burnt_seconds()
        time.sleep(AFTERWARDS_SECONDS)
        return max(0.0, self.burnt_seconds() - before) if self._times else 0.0


def _letter(descriptor: int) -> str:
    try:
        return os.pread(descriptor, 512, 0).rpartition(b")")[2].split()[0].decode()
    except ProcessLookupError:
        return "X"


def _nanoseconds(descriptor: int) -> int:
    try:
        return int(os.pread(descriptor, 128, 0).split()[0])
    except ProcessLookupError:
        return 0
