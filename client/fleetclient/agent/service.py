"""Runs one car's agent until it is told to stop: locks, pairs, loops, shuts down."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from types import FrameType

from fleetclient.agent.assemble import build_rig
from fleetclient.agent.desk import Desk
from fleetclient.agent.loop import Revoked
from fleetclient.agent.report import describe
from fleetclient.agent.rig import Rig
from fleetclient.agent.waker import Waker
from fleetclient.clock import boot_seconds
from fleetclient.config import Config
from fleetclient.control_socket import ControlServer
from fleetclient.identity import Identity
from fleetclient.logs import Log
from fleetclient.network import Network
from fleetclient.pairing import pair
from fleetclient.state import StateFolder
from fleetclient.usage import UsageMeter

EXIT_OK = 0
EXIT_REVOKED = 3
# After a signal the process ends by then, whatever hangs: nothing here needs an orderly end.
EXIT_SECONDS_MAX = 9.0


@dataclass
class StopFlag:
    """Set by SIGTERM and SIGINT; `waker` is woken."""

    waker: Waker = field(default_factory=Waker)
    is_set: bool = False

    def listen(self) -> None:
        """Take the signals from now on. Main thread only."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._set)

    def _set(self, *_: int | FrameType | None) -> None:
        if not self.is_set:
            self.is_set = True
            threading.Thread(target=_exit_late, name="fleetclient-exit", daemon=True).start()
        self.waker.wake()


def run(config: Config) -> int:
    """Run a car until SIGTERM or SIGINT (exit status 0) or until it is revoked (3); pairs it first if need be."""
    stop = StopFlag()
    stop.listen()
    state = StateFolder(config.state_dir)
    state.lock()
    log = Log(level=config.log_level, car=config.name)
    identity = Identity(state.identity)
    if identity.is_revoked:
        log.error("stopped_for_good", error="this car was removed from the fleet")
        return EXIT_REVOKED
    usage = UsageMeter(state.usage)
    network = Network(origin=config.server, identity=identity)
    if identity.vehicle_id is None and not _pair(network, identity, config, stop):
        return EXIT_OK
    rig = build_rig(config, network=network, usage=usage, vehicle_id=identity.vehicle_id, wake=stop.waker.wake, log=log)
    try:
        _work(rig, state, stop, log)
    except Revoked as error:
        identity.remember_revoked()
        log.warning("stopped_for_good", error=str(error))
        return EXIT_REVOKED
    log.info("stopped")
    return EXIT_OK


def _pair(network: Network, identity: Identity, config: Config, stop: StopFlag) -> bool:
    """Pair on another thread, so that a signal ends it at once; return False when told to stop."""
    failures: list[Exception] = []

    def work() -> None:
        try:
            pair(network=network, identity=identity, name=config.name, out=sys.stdout, sleep=time.sleep)
        except Exception as error:  # noqa: BLE001 - the edge of a thread; raised again in the main one
            failures.append(error)
        stop.waker.wake()

    thread = threading.Thread(target=work, name="fleetclient-pairing", daemon=True)
    thread.start()
    while thread.is_alive() and not stop.is_set:
        stop.waker.wait(1.0)
    if failures:
        raise failures[0]
    return not stop.is_set


def _work(rig: Rig, state: StateFolder, stop: StopFlag, log: Log) -> None:
    desk = Desk(state, look=lambda: describe(rig), wake=stop.waker.wake)
    server = ControlServer(state.folder, control=rig.control, status=desk.fresh)
    log.info("started", vehicle=rig.vehicle_id)
    rig.start()
    server.start()
    try:
        _loop(rig, desk, stop)
    finally:
        server.stop()
        rig.stop()
    desk.close(describe(rig, is_stopped=True))
    rig.close()


def _loop(rig: Rig, desk: Desk, stop: StopFlag) -> None:
    agent = rig.agent
    while not stop.is_set:
        now = boot_seconds()
        seconds = min(agent.step(now), desk.publish(now))
        runner = agent.parts.workshop.runner
        stop.waker.wait(seconds, *([runner.fileno()] if runner else []))
    agent.shut_down(boot_seconds())


def _exit_late() -> None:
    """End the process when its orderly end takes too long: what is not on disk by then is done again."""
    time.sleep(EXIT_SECONDS_MAX)
    with suppress(OSError):
        sys.stderr.flush()
    os._exit(EXIT_OK)
