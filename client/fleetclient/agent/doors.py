"""The ways in which others see the agent and speak to it: control socket, status page, Home Assistant."""

from __future__ import annotations

from typing import Protocol
from zoneinfo import ZoneInfo

from fleetclient.agent.desk import Desk
from fleetclient.agent.rig import Rig
from fleetclient.control_socket import ControlServer
from fleetclient.logs import Log
from fleetclient.page import StatusPage
from fleetclient.state import StateFolder


class Door(Protocol):
    """Something that listens on a thread of its own."""

    def start(self) -> object:
        """Begin to listen."""
        ...

    def stop(self) -> None:
        """Stop listening."""
        ...


def open_doors(rig: Rig, desk: Desk, state: StateFolder, log: Log) -> list[Door]:
    """Return the doors that the configuration asks for, not yet listening."""
    config = rig.agent.parts.config
    doors: list[Door] = [ControlServer(state.folder, control=rig.control, status=desk.fresh)]
    if config.status.port:
        doors.append(
            StatusPage(
                port=config.status.port,
                status=desk.fresh,
                control=rig.control,
                log=log,
                zone=ZoneInfo(config.rules.time_zone or "UTC"),
                has_metrics=config.status.metrics,
                currency=config.rules.currency,
            )
        )
    if config.home_assistant.enabled:
        from fleetclient.home_assistant.publisher import HomeAssistant

        doors.append(HomeAssistant(config, vehicle_id=rig.vehicle_id, status=desk.fresh, control=rig.control, log=log))
    return doors
