"""The self-test as a chore: before the first lease, after an update, once a week, in a child that leaves with the car.

Until it has passed nothing runs here, except in simulations.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from fleetclient.agent.background import Ended
from fleetclient.runner.process import child_environment
from fleetclient.selftest.report import needs_run, why_ineligible

SELFTEST = "selftest"
CHILD_SECONDS_MAX = 300.0
# Whether it is due depends on files and on the calendar: asked this often.
ASK_SECONDS = 600.0
RETRY_SECONDS = 60.0
# How often it is looked whether the car is needed while the test runs.
LOOK_SECONDS = 0.05


class TestCourse:
    """One child that tests itself. When the car leaves it is ended, not frozen: another one begins anew.

    It is not on the brake: that is pressed as long as the car may not work, and without this test it may not.
    """

    __test__ = False

    def __init__(self, state_dir: Path, settings: dict[str, Any]) -> None:
        command = [sys.executable, "-P", "-m", "fleetclient.selftest", str(state_dir), json.dumps(settings)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=child_environment(),
            process_group=0,
        )

    def wait(self, may_run: Callable[[], bool]) -> None:
        """Return when it has ended: by itself, or here as soon as the car is needed or it takes too long."""
        give_up_at = time.monotonic() + CHILD_SECONDS_MAX
        while may_run() and time.monotonic() < give_up_at:
            try:
                self._process.wait(LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                continue
            return
        # Its runner, in a process group of its own, dies with it.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
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
        may_run: Callable[[], bool],
        news: Callable[[], None],
    ) -> None:
        self._state_dir = state_dir
        self._settings = settings
        self._is_required = is_required
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
        TestCourse(self._state_dir, self._settings).wait(self._may_run)
