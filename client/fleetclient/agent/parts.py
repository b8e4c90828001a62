"""What an agent is put together from; `service` makes the real parts, tests make others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fleetclient.agent.admission import Admission
from fleetclient.agent.background import Background
from fleetclient.agent.brake import Brake
from fleetclient.agent.chores import Chores
from fleetclient.agent.timesheet import Timesheet
from fleetclient.agent.workshop import Workshop
from fleetclient.cache import ModelCache
from fleetclient.config import Config
from fleetclient.journal import Journal
from fleetclient.logs import Log
from fleetclient.network import Network
from fleetclient.spool import Spool
from fleetclient.state import StateFolder
from fleetclient.vehicle.source import VehicleSource
from fleetclient.wire import AgentInfo, SyncAnswer


@dataclass(frozen=True, kw_only=True)
class Parts:
    """All parts of one agent. They share nothing with another agent but the machine.

    `info` says what each sync says of this client; `opset_max` is the newest ONNX opset the runtime is known to run;
    `heard` is called with every answer to a sync, for the parts that the loop does not know; `news` when the car should
    be looked at anew.
    """

    config: Config
    state: StateFolder
    network: Network
    journal: Journal
    spool: Spool
    cache: ModelCache
    workshop: Workshop
    brake: Brake
    source: VehicleSource
    admission: Admission
    timesheet: Timesheet
    chores: Chores
    background: Background
    info: Callable[[], AgentInfo]
    log: Log
    opset_max: int = 23
    heard: Callable[[SyncAnswer], None] = lambda _: None
    news: Callable[[], None] = lambda: None
