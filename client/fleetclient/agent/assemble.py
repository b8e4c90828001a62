"""Puts one agent together from its configuration, on whatever an earlier one left in the state folder."""

from __future__ import annotations

import json
from collections.abc import Callable

from fleetclient.agent.about import About
from fleetclient.agent.admission import Admission
from fleetclient.agent.background import ThreadedBackground
from fleetclient.agent.brake import Brake
from fleetclient.agent.chores import Chores
from fleetclient.agent.earnings import Earnings
from fleetclient.agent.facts import Facts
from fleetclient.agent.guard import Guard
from fleetclient.agent.loop import Agent
from fleetclient.agent.parts import Parts
from fleetclient.agent.rig import Rig
from fleetclient.agent.rulebook import Rulebook
from fleetclient.agent.selftesting import SelfTesting
from fleetclient.agent.timesheet import Timesheet
from fleetclient.agent.updating import Updating
from fleetclient.agent.watch import SUSPENDED, Watcher
from fleetclient.agent.workshop import Workshop
from fleetclient.cache import ModelCache
from fleetclient.clock import boot_id, boot_seconds, wall_seconds
from fleetclient.config import Config
from fleetclient.control import ControlState
from fleetclient.energy import PowerMeter
from fleetclient.history import History
from fleetclient.identity import Identity
from fleetclient.journal import Journal
from fleetclient.local.home_network import HomeNetwork
from fleetclient.logs import Log
from fleetclient.machine import opset_max
from fleetclient.network import Network, NetworkPolicy
from fleetclient.runner.crashes import CrashBook, CrashReason
from fleetclient.runner.walls import check_walls
from fleetclient.spool import Spool
from fleetclient.state import StateFolder
from fleetclient.trust.gate import TrustGate
from fleetclient.units import Result, Unit, UnitState
from fleetclient.update.health import Probation
from fleetclient.update.updater import Updater
from fleetclient.usage import UsageMeter
from fleetclient.vehicle.factory import make_source
from fleetclient.vehicle.scripted import ScriptedSource
from fleetclient.wire import SyncAnswer, output_digest


def build_rig(
    config: Config, *, network: Network, identity: Identity, usage: UsageMeter, wake: Callable[[], None], log: Log
) -> Rig:
    """Return everything of one agent, not started: no thread runs yet, no connection is open."""
    state, now = StateFolder(config.state_dir), boot_seconds()

    def unix() -> float:
        return wall_seconds() + network.clock_offset_seconds

    rulebook = Rulebook(local=config.rules, path=state.server_rules, log=log)
    gate = make_gate(config, state, network.policy, log)
    home = make_home(config)
    network.policy.may_send = lambda: not config.network.is_restricted or home.look().is_allowed is True
    network.policy.signed_origins = lambda: gate.signed_config.origins
    network.policy.signed_egress_bytes = lambda: gate.signed_config.egress_bytes_per_day
    brake, control, power = Brake(), ControlState(state.folder), PowerMeter(config.energy)
    crashes = CrashBook(state.folder / "crashes.json")
    walls = check_walls(config.sandbox)
    about = About(state.folder, identity=identity, walls=walls.walls)
    vehicle_id = str(identity.vehicle_id)
    source = make_source(config.vehicle, folder=config.folder, began_at=now)

    def may_run() -> bool:
        look = watcher.look
        return look is not None and not gate.stop_reason() and set(look.decision.reasons) <= {SUSPENDED}

    def may_talk() -> bool:
        return network.policy.may_send() and agent.syncing.last_contact_at is not None

    def selftest_ended() -> None:
        about.forget()
        guard.wake()

    selftesting = SelfTesting(
        state_dir=state.folder,
        settings={"allow_gpu": config.sandbox.allow_gpu},
        is_required=not config.is_simulation,
        may_run=may_run,
        news=selftest_ended,
    )
    earnings = Earnings(
        network=network,
        usage=usage,
        rules=lambda: rulebook.rules,
        unix=unix,
        watts=lambda: power.watts(is_working=True),
        may_ask=lambda: may_talk() and bool(rulebook.rules.currency),
    )
    watcher = Watcher(
        source=source,
        rules=lambda: rulebook.rules,
        facts=Facts(
            usage=usage,
            control=control,
            allowed_network=network.policy.read_place,
            unconfined_reason=lambda: walls.reason_refused,
            net_per_hour=earnings.net_per_hour,
        ).read,
        brake=brake,
        log=log,
        stop_reason=lambda: gate.stop_reason() or selftesting.stop_reason(),
        script=source.absent_seconds if isinstance(source, ScriptedSource) else None,
        unix=unix,
    )
    guard = Guard(watcher, brake=brake, wake_loop=wake)
    control.call_when_changed(guard.wake)
    updating = Updating(
        updater=Updater(options=config.update, state_dir=state.folder, vehicle_id=vehicle_id, releases=gate),
        probation=Probation(state.folder, now=now),
        may_fetch=lambda: may_talk() and not config.is_simulation,
    )

    def hear(answer: SyncAnswer) -> None:
        if rulebook.adopt_server(answer.rules or {}):
            guard.wake()

    background = ThreadedBackground(wake)
    journal = Journal(state.journal, boot_id=boot_id())
    spool, cache = open_files(config, state, journal, log)
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
            watts=lambda: power.watts(is_working=True) - power.watts(is_working=False),
            unix=unix,
        ),
        chores=Chores((selftesting, earnings, updating), background=background, log=log),
        background=background,
        info=about.get,
        log=log,
        opset_max=opset_max(config.state_dir),
        heard=hear,
        news=guard.wake,
    )
    agent = Agent(parts, now=now)
    return Rig(
        agent=agent,
        source=source,
        watcher=watcher,
        guard=guard,
        control=control,
        usage=usage,
        gate=gate,
        crashes=crashes,
        vehicle_id=vehicle_id,
        selftesting=selftesting,
        updating=updating,
        earnings=earnings,
        rulebook=rulebook,
        power=power,
        walls=walls,
        unix=unix,
        now=boot_seconds,
    )


def make_home(config: Config) -> HomeNetwork:
    """Return what knows whether this computer is on a network that the owner allows."""
    options = config.network
    return HomeNetwork(
        allowed_ssids=options.allowed_ssids,
        allowed_gateways=options.allowed_gateways,
        allow_wired=options.allow_wired,
    )


def make_gate(config: Config, state: StateFolder, policy: NetworkPolicy, log: Log) -> TrustGate:
    """Return the gate that asks the fleet's repository, by the ways that the policy allows."""
    return TrustGate(
        options=config.trust,
        origin=config.server,
        folder=state.folder / "trust",
        log=log,
        policy=policy,
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


def open_files(config: Config, state: StateFolder, journal: Journal, log: Log) -> tuple[Spool, ModelCache]:
    """Return spool and cache without what a crash left behind, and with what it did not harm."""
    spool = Spool(state.folder)
    for unit in journal.list_units(UnitState.HELD):
        salvage_output(unit, journal, spool, log)
    held = {unit.token for unit in journal.list_units(UnitState.HELD)}
    finished = {unit.token for unit in journal.list_units(UnitState.FINISHED, UnitState.UPLOADING)}
    spool.sweep(to_run=held, to_offer=finished)
    cache = ModelCache(config.cache_dir, bytes_max=config.cache.models_bytes_max)
    if not held:
        cache.sweep()
    return spool, cache


def is_whole_document(document: bytes) -> bool:
    """Return True when a safetensors document is as long as its own head says: the last word on what a disk kept."""
    try:
        head_bytes = int.from_bytes(document[:8], "little")
        head = json.loads(document[8 : 8 + head_bytes])
        ends = [tensor["data_offsets"][1] for name, tensor in head.items() if name != "__metadata__"]
        return len(document) == 8 + head_bytes + int(max(ends, default=0))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return False


def salvage_output(unit: Unit, journal: Journal, spool: Spool, log: Log) -> None:
    """Note a unit as finished whose output got its name just before a crash; the time it took is lost.

    An output has its name only when it is whole and forced to disk, and its partial one is gone by then: without this
    the whole unit would be computed again.
    """
    try:
        document = spool.output_path(unit.token).read_bytes()
    except FileNotFoundError:
        return
    if not is_whole_document(document):
        return
    digest = output_digest(unit.lease.salt, document)
    journal.finish(unit.token, Result(digest=digest, output_bytes=len(document), cpu_seconds=0.0))
    log.info("salvaged", token=unit.token, bytes=len(document))
