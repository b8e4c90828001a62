"""The agent's word that the version it runs in works. Without it within ten minutes the launcher takes it back.

Healthy means: it has started, its self-test has passed, and a sync has succeeded. A car without a network cannot show
the last; for it the loop must have run for most of the ten minutes, with no failure but that nobody could be reached.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from fleetclient.update.folder import INSTALLED, VersionFolder
from fleetclient.update.launcher import RUNNING_VERSION

OFFLINE_SECONDS: Final = 480.0


def running_version() -> str:
    """Return the version that the launcher started, empty for the installed one or without a launcher."""
    return os.environ.get(RUNNING_VERSION, INSTALLED)


class Probation:
    """One agent's time on trial; for one that is not on trial it does nothing. Used by the agent's thread."""

    def __init__(self, state_dir: Path, *, now: float) -> None:
        self._folder = VersionFolder(state_dir)
        self._version = running_version()
        self._began_at = now
        state = self._folder.read()
        self.is_on_trial = self._version != INSTALLED and state.current == self._version and state.is_on_trial

    def consider(self, now: float, *, selftest_passed: bool, has_synced: bool, is_unreachable: bool) -> bool:
        """Report healthy when that is shown; return True the once that it is. Call it at every pass of the loop.

        `is_unreachable`: the last sync failed because the server could not be reached, rather than refused.
        """
        if not self.is_on_trial or not selftest_passed:
            return False
        is_shown = has_synced or (is_unreachable and now - self._began_at >= OFFLINE_SECONDS)
        if not is_shown:
            return False
        self._folder.report_healthy(self._version)
        self.is_on_trial = False
        return True
