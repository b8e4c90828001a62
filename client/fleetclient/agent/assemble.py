"""Puts one agent together from its configuration, on whatever an earlier one left in the state folder."""

from __future__ import annotations

from collections.abc import Callable

from fleetclient.agent.admission import Admission
from fleetclient.agent.background import ThreadedBackground
from fleetclient.agent.brake import Brake
from fleetclient.agent.facts import Facts
from fleetclient.agent.guard import Guard
from fleetclient.agent.loop import Agent
from fleetclient.agent.parts import Parts
from fleetclient.agent.rig import Rig
from fleetclient.agent.rulebook import Rulebook
from fleetclient.agent.timesheet import Timesheet
from fleetclient.agent.watch import Watcher
from fleetclient.agent.workshop import Workshop
from fleetclient.cache import ModelCache
from fleetclient.clock import boot_id, boot_seconds, wall_seconds
from fleetclient.config import Config
from fleetclient.control import ControlState
from fleetclient.history import History
from fleetclient.journal import Journal
from fleetclient.logs import Log
from fleetclient.machine import describe_agent, opset_max
from fleetclient.network import Network
from fleetclient.rules.rules import Rules
from fleetclient.runner.crashes import CrashBook, CrashReason
from fleetclient.spool import Spool
from fleetclient.state import StateFolder
from fleetclient.trust.gate import TrustGate
from fleetclient.units import UnitState
from fleetclient.usage import UsageMeter
from fleetclient.vehicle.factory import make_source
from fleetclient.vehicle.scripted import ScriptedSource
from fleetclient.vehicle.source import SignalSource
from fleetclient.wire import SyncAnswer


def build_rig(
    config: Config, *, network: Network, usage: UsageMeter, vehicle_id: str | None, wake: Callable[[], None], log: Log
) -> Rig:
    """Return everything of one agent, not started: no thread runs yet, no connection is open."""
    state = StateFolder(config.state_dir)
    now = boot_seconds()

    def unix() -> float:
        return wall_seconds() + network.clock_offset_seconds

    journal = Journal(state.journal, boot_id=boot_id())
    spool, cache = _open_files(config, state, journal)
    brake = Brake()
    gate = TrustGate(
        options=config.trust,
        origin=config.server,
        folder=state.folder / "trust",
        log=log,
        config_folder=config.folder,
        on_bytes=usage.add_bytes,
    )
    crashes = CrashBook(state.folder / "crashes.json")
    background = ThreadedBackground(wake)
    rulebook = Rulebook(local=config.rules, path=state.server_rules, log=log)
    source = make_source(config.vehicle, folder=config.folder, began_at=now)
    control = ControlState(state.folder)
    watcher = make_watcher(
        source=source,
        rules=lambda: rulebook.rules,
        facts=Facts(usage=usage, control=control),
        brake=brake,
        log=log,
        stop_reason=gate.stop_reason,
        unix=unix,
    )
    guard = Guard(watcher, wake_loop=wake)
    control.call_when_changed(guard.wake)

    def hear(answer: SyncAnswer) -> None:
        if rulebook.adopt_server(answer.rules or {}):
            guard.wake()

    parts = Parts(
        config=config,
        state=state,
        network=network,
        journal=journal,
        spool=spool,
        cache=cache,
        workshop=Workshop(
            folder=state.folder,
            cache=cache,
            spool=spool,
            simulation=config.simulation,
            sandbox=config.sandbox,
            idle_seconds=config.limits.runner_idle_seconds,
            log=log,
            brake=brake,
            crashed=note_crashes(crashes, unix, log),
        ),
        brake=brake,
        source=watcher,
        admission=Admission(gate=gate, background=background, refused_until=ask_refusals(crashes, unix)),
        timesheet=Timesheet(
            usage=usage,
            history=History(state.history, now_unix=unix()),
            watts=config.energy.active_watts,
            unix=unix,
        ),
        background=background,
        info=lambda: describe_agent(config.state_dir),
        log=log,
        opset_max=opset_max(config.state_dir),
        heard=hear,
        news=guard.wake,
    )
    return Rig(
        agent=Agent(parts, now=now),
        source=source,
        watcher=watcher,
        guard=guard,
        control=control,
        usage=usage,
        gate=gate,
        crashes=crashes,
        vehicle_id=vehicle_id,
        walls={},
        walls_refused="",
        watts=config.energy.active_watts,
        unix=unix,
        now=boot_seconds,
    )


def note_crashes(crashes: CrashBook, unix: Callable[[], float], log: Log) -> Callable[[str, CrashReason], None]:
    """Return what the workshop calls when a model has ended its runner."""

    def note(sha256: str, reason: CrashReason) -> None:
        known = crashes.record(sha256, reason, now=unix())
        log.warning("model_crashed", model=sha256[:12], reason=reason, times=len(known.crashed_at))

    return note


def ask_refusals(crashes: CrashBook, unix: Callable[[], float]) -> Callable[[str], float | None]:
    """Return what says until when a model is refused, None when it is not."""
    return lambda sha256: crashes.get(sha256, now=unix()).refused_until


def make_watcher(
    *,
    source: SignalSource,
    rules: Callable[[], Rules],
    facts: Facts,
    brake: Brake,
    log: Log,
    stop_reason: Callable[[], str],
    unix: Callable[[], float],
) -> Watcher:
    """Return what watches the car that the configuration names."""
    script = source.absent_seconds if isinstance(source, ScriptedSource) else None
    return Watcher(
        source=source,
        rules=rules,
        facts=facts.read,
        brake=brake,
        log=log,
        stop_reason=stop_reason,
        script=script,
        unix=unix,
    )


def _open_files(config: Config, state: StateFolder, journal: Journal) -> tuple[Spool, ModelCache]:
    """Return spool and cache without what a crash left behind."""
    held = {unit.token for unit in journal.list_units(UnitState.HELD)}
    finished = {unit.token for unit in journal.list_units(UnitState.FINISHED, UnitState.UPLOADING)}
    spool = Spool(state.folder)
    spool.sweep(to_run=held, to_offer=finished)
    cache = ModelCache(config.cache_dir, bytes_max=config.cache.models_bytes_max)
    if not held:
        cache.sweep()
    return spool, cache
