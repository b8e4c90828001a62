"""A look at the car without an agent: the source is asked for some seconds, then the rules are asked once.

For `rules explain` and `doctor`. It takes no lock and changes nothing, so it may run beside an agent.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from fleetclient.clock import boot_seconds, wall_seconds
from fleetclient.config import Config
from fleetclient.control import ControlState
from fleetclient.control_socket import AgentNotRunning, ask
from fleetclient.local.home_network import HomeNetwork
from fleetclient.local.thermal import Thermometer
from fleetclient.rules.decision import Decision, LocalFacts, Memory, Now
from fleetclient.rules.eligibility import evaluate
from fleetclient.rules.rules import Rules, RulesInvalid, read_rules
from fleetclient.rules.tighten import LOOSEST, tighten
from fleetclient.state import StateFolder
from fleetclient.usage import UsageMeter
from fleetclient.vehicle.factory import make_source
from fleetclient.vehicle.signals import Reading, Signals

LISTEN_SECONDS = 5.0
# After the first news more usually follows at once: a broker delivers its retained topics one by one.
SETTLE_SECONDS = 0.5
# As the agent would see it once everything has been well for long enough: the question is what holds the car back.
WAITED = Memory(was_allowed=False, open_since_elapsed=float("-inf"))


@dataclass(frozen=True, kw_only=True)
class LiveLook:
    """What was heard and decided. `problem` is why the source says nothing, empty when it speaks."""

    signals: Signals
    rules: Rules
    now: Now
    decision: Decision
    problem: str


def look_now(config: Config, *, listen_seconds: float = LISTEN_SECONDS) -> LiveLook:
    """Return the verdict of this moment; takes up to `listen_seconds`. Raises SourceInvalid for an unusable source."""
    signals, problem = listen(config, listen_seconds=listen_seconds)
    rules = rules_in_force(config)
    now = Now(unix=wall_seconds(), elapsed=boot_seconds())
    decision = evaluate(signals, rules, now, facts=gather_facts(config), memory=WAITED)
    return LiveLook(signals=signals, rules=rules, now=now, decision=decision, problem=problem)


def listen(config: Config, *, listen_seconds: float = LISTEN_SECONDS) -> tuple[Signals, str]:
    """Return what the configured source says within some seconds, and why it says nothing if it does not."""
    woken = threading.Event()
    began_at = boot_seconds()
    source = make_source(config.vehicle, folder=config.folder, began_at=began_at)
    source.start(woken.set)
    try:
        if woken.wait(listen_seconds):
            time.sleep(min(SETTLE_SECONDS, listen_seconds))
        signals = source.read(boot_seconds())
        problem = str(getattr(source, "problem", ""))
    finally:
        source.stop()
    is_silent = all(reading is None or reading.value is None for _, reading in signals)
    return signals, problem or ("it has said nothing yet" if is_silent else "")


def read_agent_signals(config: Config) -> Signals | None:
    """Return what the running agent last heard, None when no agent runs."""
    if not config.state_dir.is_dir():
        return None
    try:
        status = ask(config.state_dir, "status")
    except AgentNotRunning:
        return None
    now = boot_seconds()
    return Signals(
        {
            name: Reading(each["value"], now - each["age_seconds"], each["source"])
            for name, each in status["signals"].items()
            if each is not None and each["age_seconds"] is not None
        }
    )


def rules_in_force(config: Config) -> Rules:
    """Return the owner's rules, made stricter by what the server last said, if it said anything."""
    path = config.state_dir / "server-rules.json"
    try:
        return tighten(config.rules, read_rules(json.loads(path.read_bytes()), base=LOOSEST))
    except (OSError, ValueError, RulesInvalid):
        return config.rules


def gather_facts(config: Config) -> LocalFacts:
    """Return what this computer knows: pause, usage, network, temperature. Makes no folder that is not there."""
    is_allowed, name = look_at_network(config)
    temp_c = Thermometer().read()
    if not config.state_dir.is_dir():
        return LocalFacts(device_temp_c=temp_c, on_allowed_network=is_allowed, network_name=name)
    state = StateFolder(config.state_dir)
    usage = UsageMeter(state.usage, zone=ZoneInfo(config.rules.time_zone or "UTC"))
    control = ControlState(state.folder).read()
    return LocalFacts(
        device_temp_c=temp_c,
        on_allowed_network=is_allowed,
        network_name=name,
        bytes_today=usage.bytes_today,
        bytes_this_month=usage.bytes_this_month,
        worked_seconds_today=usage.worked_seconds_today,
        paused_until_unix=control.paused_until_unix,
        is_finishing=control.is_finishing,
    )


def look_at_network(config: Config) -> tuple[bool | None, str]:
    """Return whether the present network is allowed (None: nobody can tell), and the hash that stands for it."""
    options = config.network
    return HomeNetwork(
        allowed_ssids=options.allowed_ssids,
        allowed_gateways=options.allowed_gateways,
        allow_wired=options.allow_wired,
    ).read()


def may_send(config: Config) -> bool:
    """Return whether anything at all may be sent by the present network; what cannot be told may not."""
    return not config.network.is_restricted or look_at_network(config)[0] is True
