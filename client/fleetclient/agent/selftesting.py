"""The self-test as a chore: before the first lease, after an update, once a week, in a child that leaves with the car.

Until it has passed nothing runs here, except in simulations.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from fleetclient.agent.background import Ended
from fleetclient.agent.brake import Brake
from fleetclient.runner.process import child_environment
from fleetclient.selftest.report import needs_run, why_ineligible

SELFTEST = "selftest"
CHILD_SECONDS_MAX = 300.0
# Whether it is due depends on files and on the calendar: asked this often.
ASK_SECONDS = 600.0
RETRY_SECONDS = 60.0


class TestCourse:
    """One child that tests itself. When the car leaves it is ended, not frozen: another one begins anew."""

    __test__ = False

    def __init__(self, state_dir: Path, settings: dict[str, Any]) -> None:
        command = [sys.executable, "-m", "fleetclient.selftest", str(state_dir), json.dumps(settings)]
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=child_environment(),
            process_group=0,
        )

    def stop(self) -> None:
        """End it; its runner dies with it."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def resume(self) -> None:
        """Nothing is left to go on."""

    def wait(self) -> None:
        """Return when it has ended, one way or the other."""
        try:
            self._process.wait(CHILD_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.stop()
            self._process.wait()


class SelfTesting:
    """The chore. `may_run` says whether the car would be free but for the missing self-test."""

    kind = SELFTEST

    def __init__(
        self,
        *,
        state_dir: Path,
        settings: dict[str, Any],
        is_required: bool,
        brake: Brake,
        may_run: Callable[[], bool],
        news: Callable[[], None],
    ) -> None:
        self._state_dir = state_dir
        self._settings = settings
        self._is_required = is_required
        self._brake = brake
        self._may_run = may_run
        self._news = news
        self._due_at = float("-inf")
        self._is_due = bool(needs_run(state_dir))
        self._reason = why_ineligible(state_dir)

    @property
    def has_passed(self) -> bool:
        """True while a self-test that holds has passed, or none is required."""
        return not self._is_required or not self._reason

    def stop_reason(self) -> str:
        """Return why nothing may run here, empty when it may. From memory."""
        return self._reason if self._is_required else ""

    def seconds_until_due(self, now: float) -> float:
        """Return how long it may wait; infinity while the car is not free."""
        if not self._is_required or (self._is_due and not self._may_run()):
            return float("inf")
        return max(0.0, self._due_at - now)

    def prepare(self, now: float) -> Callable[[], object]:
        """Return the test, or the question whether one is due."""
        self._due_at = now + (RETRY_SECONDS if self._is_due else ASK_SECONDS)
        return self._run if self._is_due else lambda: None

    def settle(self, ended: Ended, now: float) -> None:
        """Read what came out."""
        del ended
        before = self._reason
        self._is_due, self._reason = bool(needs_run(self._state_dir)), why_ineligible(self._state_dir)
        if self._is_due:
            self._due_at = now if not before else self._due_at
        if self._reason != before:
            self._news()

    def _run(self) -> None:
        course = TestCourse(self._state_dir, self._settings)
        self._brake.attach(course)
        try:
            course.wait()
        finally:
            self._brake.detach(course)
