"""All that belongs to one running agent: the loop's parts and what stands around them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fleetclient.agent.earnings import Earnings
from fleetclient.agent.guard import Guard
from fleetclient.agent.loop import Agent
from fleetclient.agent.rulebook import Rulebook
from fleetclient.agent.selftesting import SelfTesting
from fleetclient.agent.updating import Updating
from fleetclient.agent.watch import Watcher
from fleetclient.control import ControlState
from fleetclient.energy import PowerMeter
from fleetclient.runner.crashes import CrashBook
from fleetclient.runner.walls import WallsReport
from fleetclient.trust.gate import TrustGate
from fleetclient.usage import UsageMeter
from fleetclient.vehicle.source import SignalSource


@dataclass(frozen=True, kw_only=True)
class Rig:
    """One agent, put together. `walls` is what was found of the runner's confinement before anything ran.

    `unix` gives Unix seconds by the server's clock, as far as that is known; `now` the boot clock's.
    """

    agent: Agent
    source: SignalSource
    watcher: Watcher
    guard: Guard
    control: ControlState
    usage: UsageMeter
    gate: TrustGate
    crashes: CrashBook
    vehicle_id: str
    selftesting: SelfTesting
    updating: Updating
    earnings: Earnings
    rulebook: Rulebook
    power: PowerMeter
    walls: WallsReport
    unix: Callable[[], float]
    now: Callable[[], float]

    def start(self) -> None:
        """Begin to listen to the car and to watch."""
        self.source.start(self.guard.wake)
        self.guard.start()

    def stop(self) -> None:
        """Stop watching and listening."""
        self.guard.stop()
        self.source.stop()

    def close(self) -> None:
        """Store what is counted and close the files."""
        self.agent.parts.timesheet.close()
        self.agent.parts.journal.close()

    def consider_update(self, now: float) -> bool:
        """Vouch for this version or switch to a new one when the moment has come; return True to start anew."""
        agent, look = self.agent, self.watcher.look
        plugged_in = look.signals.get("plugged_in") if look else None
        self.updating.consider(
            now,
            selftest_passed=self.selftesting.has_passed,
            has_synced=agent.syncing.last_contact_at is not None,
            is_unreachable=agent.syncing.is_unreachable,
            is_working=agent.parts.workshop.runner is not None,
            is_plugged_in=None if plugged_in is None or plugged_in.value is None else bool(plugged_in.value),
        )
        return self.updating.wants_restart
