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
from zoneinfo import ZoneInfo

from fleetclient.agent.assemble import build_rig
from fleetclient.agent.desk import Desk
from fleetclient.agent.doors import open_doors
from fleetclient.agent.loop import Revoked
from fleetclient.agent.report import describe
from fleetclient.agent.rig import Rig
from fleetclient.agent.waker import Waker
from fleetclient.clock import boot_seconds
from fleetclient.config import Config, ConfigInvalid, reload
from fleetclient.identity import Identity
from fleetclient.logs import Log, open_log
from fleetclient.network import Network, NetworkPolicy
from fleetclient.pairing import pair
from fleetclient.service.notify import ServiceManager
from fleetclient.state import StateFolder
from fleetclient.usage import UsageMeter

EXIT_OK = 0
EXIT_REVOKED = 3
# After a signal the process ends by then, whatever hangs: nothing here needs an orderly end.
EXIT_SECONDS_MAX = 9.0


@dataclass
class StopFlag:
    """Set by SIGTERM and SIGINT; SIGHUP asks for the configuration to be read anew. `waker` is woken by each."""

    waker: Waker = field(default_factory=Waker)
    is_set: bool = False
    wants_reload: bool = False

    def listen(self) -> None:
        """Take the signals from now on. Main thread only."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._set)
        signal.signal(signal.SIGHUP, self._ask_reload)

    def take_reload(self) -> bool:
        """Return True once for every time that SIGHUP came."""
        wanted, self.wants_reload = self.wants_reload, False
        return wanted

    def _ask_reload(self, *_: int | FrameType | None) -> None:
        self.wants_reload = True
        self.waker.wake()

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
    log, manager = open_log(config), ServiceManager()
    manager.ready()
    identity = Identity(state.identity)
    if identity.is_revoked:
        log.error("stopped_for_good", error="this car was removed from the fleet")
        return EXIT_REVOKED
    usage = UsageMeter(state.usage, zone=ZoneInfo(config.rules.time_zone or "UTC"))
    if usage.was_unreadable:
        log.warning("usage_unreadable", error="bytes, hours and energy are counted anew")
    manager = ServiceManager()
    manager.ready()
    policy = NetworkPolicy(options=config.network, folder=config.folder, meter=usage, log=log)
    network = Network(origin=config.server, identity=identity, policy=policy)
    if identity.vehicle_id is None and not _pair(network, identity, config, stop, manager):
        return EXIT_OK
    rig = build_rig(
        config,
        network=network,
        identity=identity,
        usage=usage,
        wake=stop.waker.wake,
        log=log,
    )
    try:
        _work(rig, state, stop, log, manager)
    except Revoked as error:
        identity.remember_revoked()
        log.warning("stopped_for_good", error=str(error))
        return EXIT_REVOKED
    log.info("stopped")
    if rig.updating.wants_restart:
        from fleetclient.update.launcher import restart

        restart(sys.argv[1:])
    return EXIT_OK


def _pair(network: Network, identity: Identity, config: Config, stop: StopFlag, manager: ServiceManager) -> bool:
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
        manager.alive(boot_seconds(), "Waiting for the owner to approve this car.")
        stop.waker.wait(1.0)
    if failures:
        raise failures[0]
    return not stop.is_set


def _work(rig: Rig, state: StateFolder, stop: StopFlag, log: Log, manager: ServiceManager) -> None:
    desk = Desk(state, look=lambda: describe(rig), wake=stop.waker.wake)
    doors = open_doors(rig, desk, state, log)
    log.info("started", vehicle=rig.vehicle_id)
    rig.start()
    for door in doors:
        door.start()
    try:
        _loop(rig, desk, stop, log, manager)
    finally:
        rig.stop()
        for door in doors:
            door.stop()
    desk.close(describe(rig, is_stopped=True))
    rig.close()


def _loop(rig: Rig, desk: Desk, stop: StopFlag, log: Log, manager: ServiceManager) -> None:
    agent = rig.agent
    while not stop.is_set:
        if stop.take_reload():
            _reload(rig, log)
        if rig.guard.failure is not None:
            raise rig.guard.failure
        now = boot_seconds()
        seconds = min(agent.step(now), desk.publish(now))
        manager.alive(now, "Working." if agent.parts.workshop.is_working else "Waiting.")
        manager.alive(now, desk.sentence)
        rig.power.note(now, is_working=agent.parts.workshop.is_working)
        if rig.consider_update(now):
            agent.shut_down(boot_seconds(), keeps_work=True)
            return
        runner = agent.parts.workshop.runner
        stop.waker.wait(seconds, *([runner.fileno()] if runner else []))
    manager.stopping()
    agent.shut_down(boot_seconds())


def _reload(rig: Rig, log: Log) -> None:
    """Take the owner's rules and the log level from the configuration as it is now; the rest needs a new start."""
    try:
        config = reload(rig.agent.parts.config)
    except ConfigInvalid as error:
        log.warning("config_refused", error=str(error))
        return
    rig.rulebook.adopt_local(config.rules)
    log.set_level(config.log_level)
    rig.guard.wake()
    log.info("config_read")


def _exit_late() -> None:
    """End the process when its orderly end takes too long: what is not on disk by then is done again."""
    time.sleep(EXIT_SECONDS_MAX)
    with suppress(OSError):
        sys.stderr.flush()
    os._exit(EXIT_OK)
