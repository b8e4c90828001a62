"""All that belongs to one running agent: the loop's parts and what stands around them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fleetclient.agent.guard import Guard
from fleetclient.agent.loop import Agent
from fleetclient.agent.watch import Watcher
from fleetclient.control import ControlState
from fleetclient.runner.crashes import CrashBook
from fleetclient.trust.gate import TrustGate
from fleetclient.usage import UsageMeter
from fleetclient.vehicle.source import SignalSource


@dataclass(frozen=True, kw_only=True)
class Rig:
    """One agent, put together. `walls` is what was found of the runner's confinement before anything ran.

    `unix` gives Unix seconds by the server's clock, as far as that is known; `now` the boot clock's. `watts` is what
    work draws, by the owner's estimate.
    """

    agent: Agent
    source: SignalSource
    watcher: Watcher
    guard: Guard
    control: ControlState
    usage: UsageMeter
    gate: TrustGate
    crashes: CrashBook
    vehicle_id: str | None
    walls: dict[str, bool]
    walls_refused: str
    watts: float
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
