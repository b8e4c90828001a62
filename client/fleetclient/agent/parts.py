"""What an agent is put together from; `service` makes the real parts, tests make others."""

from __future__ import annotations

from dataclasses import dataclass

from fleetclient.agent.background import Background
from fleetclient.agent.workshop import Workshop
from fleetclient.cache import ModelCache
from fleetclient.config import Config
from fleetclient.journal import Journal
from fleetclient.logs import Log
from fleetclient.network import Network
from fleetclient.spool import Spool
from fleetclient.vehicle.source import VehicleSource
from fleetclient.wire import AgentInfo


@dataclass(frozen=True, kw_only=True)
class Parts:
    """All parts of one agent. They share nothing with another agent but the machine."""

    config: Config
    network: Network
    journal: Journal
    spool: Spool
    cache: ModelCache
    workshop: Workshop
    source: VehicleSource
    background: Background
    info: AgentInfo
    log: Log
