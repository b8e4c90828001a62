"""The handle on the bare loop's process: started once, let run and held still in turns."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.client.stage import pin
from fleetcompute.embedded.home import PROJECT_ROOT


class BareLoop:
    """Context manager. It is loaded, warmed up and held still when the block is entered."""

    def __init__(self, model: Path, rows: Path, *, batch_rows: int, cores: Iterable[int], level: str = "all") -> None:
        self._command = [sys.executable, "-m", "bench.efficiency.bare", str(model), str(rows), str(batch_rows), level]
        self._cores = set(cores)
        self._blocks: list[tuple[float, int]] = []

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True)
        pin([self._process.pid], self._cores)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        while not self._blocks:
            if self._process.poll() is not None:
                raise RuntimeError(f"the bare loop ended with {self._process.returncode}: {' '.join(self._command)}")
            time.sleep(0.05)
        self._process.send_signal(signal.SIGSTOP)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def run(self, seconds: float) -> tuple[int, float]:
        """Let it run for so long; return whole blocks' rows and their seconds."""
        began_at = time.monotonic()
        self._process.send_signal(signal.SIGCONT)
        time.sleep(seconds)
        self._process.send_signal(signal.SIGSTOP)
        ended_at = time.monotonic()
        os.sched_yield()
        within = [block for block in list(self._blocks) if began_at <= block[0] <= ended_at]
        return within[-1][1] - within[0][1], within[-1][0] - within[0][0]

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            at, done = json.loads(line)
            self._blocks.append((at, done))
