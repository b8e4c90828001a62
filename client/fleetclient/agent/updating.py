"""Updates of the client as a chore: fetched and unpacked in the background, switched to when the car is idle."""

from __future__ import annotations

from collections.abc import Callable

from fleetclient.agent.background import Ended
from fleetclient.update.health import Probation
from fleetclient.update.updater import Updater

UPDATE = "update"
# Between two looks at whether the moment has come: each reads a small file.
LOOK_SECONDS = 60.0


class Updating:
    """The chore. `wants_restart` turns True when a new version was switched to."""

    kind = UPDATE

    def __init__(self, *, updater: Updater, probation: Probation, may_fetch: Callable[[], bool]) -> None:
        self._updater = updater
        self._probation = probation
        self._may_fetch = may_fetch
        self._look_at = float("-inf")
        self.wants_restart = False

    def seconds_until_due(self, now: float) -> float:
        """Return how long the next look for a release may wait."""
        if not self._may_fetch():
            return float("inf")
        return 0.0 if self._updater.is_due(now) else LOOK_SECONDS

    def prepare(self, now: float) -> Callable[[], object]:
        """Return the look: it may take minutes where there is something to fetch."""
        return lambda: self._updater.prepare(now)

    def settle(self, ended: Ended, now: float) -> None:
        """Nothing to do: what was prepared is switched to in an idle moment."""
        del ended, now

    def consider(
        self,
        now: float,
        *,
        selftest_passed: bool,
        has_synced: bool,
        is_unreachable: bool,
        is_working: bool,
        is_plugged_in: bool | None,
    ) -> None:
        """Vouch for the version that runs, and switch to the one that waits, when the moment for either has come."""
        self._probation.consider(
            now, selftest_passed=selftest_passed, has_synced=has_synced, is_unreachable=is_unreachable
        )
        if now < self._look_at or is_working:
            return
        self._look_at = now + LOOK_SECONDS
        if self._updater.check().is_wanted and not self._updater.why_waiting(
            is_working=is_working, is_plugged_in=is_plugged_in
        ):
            self._updater.switch()
            self.wants_restart = True
