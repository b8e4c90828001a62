"""Puts an agent together from its configuration and runs it until it is told to stop."""

from __future__ import annotations

import select
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from fleetclient.agent.background import ThreadedBackground
from fleetclient.agent.loop import Agent, Revoked
from fleetclient.agent.parts import Parts
from fleetclient.agent.workshop import Workshop
from fleetclient.cache import ModelCache
from fleetclient.clock import boot_id, boot_seconds, wall_seconds
from fleetclient.config import Config
from fleetclient.identity import Identity
from fleetclient.journal import Journal
from fleetclient.logs import Log
from fleetclient.machine import describe_agent
from fleetclient.network import Network
from fleetclient.pairing import pair
from fleetclient.spool import Spool
from fleetclient.state import StateFolder
from fleetclient.units import UnitState
from fleetclient.vehicle.simulated import SimulatedVehicle

STATUS_SECONDS = 1.0
EXIT_OK = 0
EXIT_REVOKED = 3


class Waker:
    """Wakes the loop out of its wait: from threads, and from signals."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.settimeout(0)
        self._writer.settimeout(0)

    def wake(self) -> None:
        """End the present or the next wait. Safe in threads and signal handlers."""
        with suppress(BlockingIOError):  # a full pipe wakes as well
            self._writer.send(b"\0")

    def wait(self, seconds: float, *others: int) -> None:
        """Return when woken, when one of the other descriptors can be read, or after so many seconds."""
        select.select([self._reader.fileno(), *others], [], [], seconds)
        with suppress(BlockingIOError):
            while self._reader.recv(4096):
                pass


@dataclass
class StopFlag:
    """Set by SIGTERM and SIGINT."""

    is_set: bool = False


def run(config: Config) -> int:
    """Run a car until SIGTERM or SIGINT (exit status 0) or until it is revoked (3); pairs it first if need be."""
    state = StateFolder(config.state_dir)
    state.lock()
    log = Log(level=config.log_level, car=config.name)
    identity = Identity(state.identity)
    if identity.is_revoked:
        log.error("stopped_for_good", error="this car was removed from the fleet")
        return EXIT_REVOKED
    network = Network(origin=config.server, identity=identity)
    if identity.vehicle_id is None:
        pair(network=network, identity=identity, name=config.name, out=sys.stdout, sleep=time.sleep)
    # Only now: while it waits for the owner there is nothing to put away, and a signal may simply end it.
    waker, stop = Waker(), StopFlag()
    _stop_on_signals(stop, waker)
    agent = build_agent(config, network=network, waker=waker, log=log)
    log.info("started", vehicle=identity.vehicle_id)
    try:
        _loop(agent, state, waker, stop)
    except Revoked as error:
        identity.remember_revoked()
        log.warning("stopped_for_good", error=str(error))
        return EXIT_REVOKED
    log.info("stopped")
    return EXIT_OK


def build_agent(config: Config, *, network: Network, waker: Waker, log: Log) -> Agent:
    """Return an agent on the state folder of the configuration, with what an earlier one left there."""
    state = StateFolder(config.state_dir)
    now = boot_seconds()
    journal = Journal(state.journal, boot_id=boot_id())
    spool = Spool(state.folder)
    spool.sweep({unit.token for unit in journal.list_units()})
    cache = ModelCache(state.cache, bytes_max=config.cache.models_bytes_max)
    if not journal.list_units(UnitState.HELD):
        cache.sweep()
    vehicle = config.vehicle
    parts = Parts(
        config=config,
        network=network,
        journal=journal,
        spool=spool,
        cache=cache,
        workshop=Workshop(
            folder=state.folder,
            cache=cache,
            spool=spool,
            simulation=config.simulation,
            idle_seconds=config.limits.runner_idle_seconds,
            log=log,
        ),
        source=SimulatedVehicle(
            began_at=now,
            away=vehicle.away,
            away_file=Path(vehicle.away_file) if vehicle.away_file else None,
            away_reason=vehicle.away_reason,
            start_delay_seconds=vehicle.start_delay_seconds,
        ),
        background=ThreadedBackground(waker.wake),
        info=describe_agent(),
        log=log,
    )
    return Agent(parts, now=now)


def describe(agent: Agent) -> dict[str, Any]:
    """Return what `status` shows of a running agent."""
    parts = agent.parts
    counts = {state.value: len(parts.journal.list_units(state)) for state in UnitState}
    given = parts.workshop.given_tokens
    running = parts.journal.get(given[0]) if given else None
    return {
        "at": wall_seconds(),
        "car": parts.config.name,
        "eligible": agent.state.eligible,
        "reasons": list(agent.state.reasons),
        "online": not agent.is_offline,
        "units": counts,
        "completed": agent.completed_count,
        "rows_done": parts.workshop.rows_done if running else None,
        "rows": running.lease.rows if running else None,
    }


def _loop(agent: Agent, state: StateFolder, waker: Waker, stop: StopFlag) -> None:
    status_due_at = 0.0
    while not stop.is_set:
        now = boot_seconds()
        seconds = agent.step(now)
        if now >= status_due_at:
            state.write_status(describe(agent))
            status_due_at = now + STATUS_SECONDS
        runner = agent.parts.workshop.runner
        waker.wait(seconds, *([runner.fileno()] if runner else []))
    agent.shut_down(boot_seconds())
    state.write_status(describe(agent) | {"stopped": True})
    agent.parts.journal.close()


def _stop_on_signals(stop: StopFlag, waker: Waker) -> None:
    def handle(*_: int | FrameType | None) -> None:
        stop.is_set = True
        waker.wake()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
