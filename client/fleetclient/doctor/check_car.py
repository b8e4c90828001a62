"""The car: does its source speak, how fresh is what it says, and what do the rules make of it now."""

from __future__ import annotations

from collections.abc import Iterator

from fleetclient.clock import boot_seconds, wall_seconds
from fleetclient.doctor.context import Context
from fleetclient.doctor.report import Line, fail, ok, warn
from fleetclient.errors import ClientError
from fleetclient.live import WAITED, gather_facts, listen, read_agent_signals, rules_in_force
from fleetclient.rules.decision import Now
from fleetclient.rules.eligibility import evaluate
from fleetclient.rules.explain import get_sentence
from fleetclient.vehicle.signals import Signals
from fleetclient.words import SIGNAL_LABELS, say_seconds, say_value

NEEDED = ("parked", "plugged_in", "soc_pct", "user_present")
# Sources that look at no car.
MADE_UP = ("simulated", "scripted")


def check_source(context: Context) -> Iterator[Line]:
    """Find out whether the source says what the rules need."""
    config = context.config
    if config is None:
        return
    source = config.vehicle.source
    if source == "none":
        context.signals = Signals()
        mend = (
            f'write source = "teslamate" (mqtt, can, file) under [vehicle] in {context.config_file}; see Connect a car'
        )
        yield fail("car", "no car is connected, so it never works", mend)
        return
    try:
        # A second connection beside the agent's would disturb some sources, such as standard input.
        live = read_agent_signals(config)
        context.signals, problem = (live, "") if live is not None else listen(config)
    except ClientError as error:
        yield fail("car", f"{source}: {error}", f"correct [vehicle] in {context.config_file}")
        return
    missing = [name for name in NEEDED if (reading := context.signals.get(name)) is None or reading.value is None]
    if problem:
        mend = f"check [vehicle.{source}] in {context.config_file}, and that what it names runs"
        yield fail("car", f"{source}: {problem}", mend)
    elif missing:
        names = ", ".join(SIGNAL_LABELS[name].lower() for name in missing)
        mend = f"without them the car never works; see [vehicle.{source}] in the configuration's reference"
        yield fail("car", f"{source} does not say: {names}", mend)
    else:
        yield ok("car", f"{source}: {_say(context.signals)}")
    if source in MADE_UP:
        mend = f"name where your car's state comes from in {context.config_file}: [vehicle] source; see Connect a car"
        yield warn("source", f"{source}: no real car is asked, so work goes on while you drive", mend)


def check_rules(context: Context) -> Iterator[Line]:
    """Find out whether the car may work now. A no is no fault: most of the day it is the right answer."""
    config, signals = context.config, context.signals
    if config is None or signals is None:
        return
    rules = rules_in_force(config)
    now = Now(unix=wall_seconds(), elapsed=boot_seconds())
    decision = evaluate(signals, rules, now, facts=gather_facts(config), memory=WAITED)
    if decision.allow:
        yield ok("rules", "the car may work now")
    else:
        yield ok("rules", f"the car may not work now: {get_sentence(decision)} See: fleetclient rules explain")
    if unheard := [gate.name for gate in decision.gates if gate.reason == "signal_stale" and gate.value == "unknown"]:
        mend = f"tell them in [vehicle.{config.vehicle.source}], or loosen the rules that ask; see Connect a car"
        yield warn("signals", f"closed as long as the car does not say what they need: {', '.join(unheard)}", mend)
    if not rules.time_zone:
        mend = f'write time_zone = "Europe/Berlin" (or yours) under [rules] in {context.config_file}'
        yield warn("time zone", "the rules name none, so ready-by times follow this computer's", mend)


def _say(signals: Signals) -> str:
    now = boot_seconds()
    said = []
    for name, reading in signals:
        if reading is not None and reading.value is not None and name in NEEDED:
            age = say_seconds(max(0.0, now - reading.observed_at))
            said.append(f"{SIGNAL_LABELS[name].lower()} {say_value(name, reading.value)} ({age} ago)")
    return ", ".join(said)
